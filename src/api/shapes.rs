//! The schemas of parameters, for the description of the API. They are types without values: the handlers read
//! parameters as text, and check them themselves.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::find_run::{MAX_DIGITS, MIN_DIGITS};
use super::limits::{DEFAULT_PAGE, MAX_IDEMPOTENCY_KEY};
use crate::run::RunStatus;
use crate::store::MAX_PAGE;

/// Defines a schema that is written where it is used, and has no name in the document.
macro_rules! shape {
    ($(#[$what:meta])* $name:ident, $schema:expr) => {
        $(#[$what])*
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        }
    };
}

shape!(
    /// How many items a page has at most.
    Limit,
    |_| json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE })
);

shape!(
    /// A key in a list: any text that is not empty.
    After,
    |_| json_schema!({ "type": "string", "minLength": 1 })
);

shape!(
    /// Some consecutive digits of an identifier.
    PartOfId,
    |_| json_schema!({
        "type": "string", "pattern": "^[0-9A-Fa-f]+$", "minLength": MIN_DIGITS, "maxLength": MAX_DIGITS,
    })
);

shape!(
    /// The sequence of an agent record in its run.
    Seq,
    |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
);

shape!(
    /// A version in the form of semantic versioning.
    VersionText,
    |_| json_schema!({
        "type": "string",
        "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
    })
);

shape!(
    /// A text that names a request, so that it can be repeated.
    IdempotencyKey,
    |_| json_schema!({
        "type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY, "pattern": "^[ -~]+$",
    })
);

shape!(
    /// Several statuses of runs, separated by commas.
    Statuses,
    |generator| {
        let one = generator.subschema_for::<RunStatus>();
        json_schema!({ "type": "array", "items": one, "maxItems": RunStatus::ALL.len() })
    }
);
