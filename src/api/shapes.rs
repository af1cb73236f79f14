//! What parameters look like, for the description of the API.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::find_run::{MAX_DIGITS, MIN_DIGITS};
use super::limits::{DEFAULT_PAGE, MAX_IDEMPOTENCY_KEY};
use crate::run::RunStatus;
use crate::store::MAX_PAGE;

/// A shape that is written where it is used, and has no name.
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
    /// How many items a page has.
    Limit,
    |_| json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE })
);

shape!(
    /// A key in a list: any text but none.
    After,
    |_| json_schema!({ "type": "string", "minLength": 1 })
);

shape!(
    /// A part of an identifier.
    PartOfId,
    |_| json_schema!({
        "type": "string", "pattern": "^[0-9A-Fa-f]+$", "minLength": MIN_DIGITS, "maxLength": MAX_DIGITS,
    })
);

shape!(
    /// The place of an agent record in its run.
    Seq,
    |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
);

shape!(
    /// A version, as semantic versioning writes it.
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
    /// Several statuses of runs, with commas between them.
    Statuses,
    |generator| {
        let one = generator.subschema_for::<RunStatus>();
        json_schema!({ "type": "array", "items": one, "maxItems": RunStatus::ALL.len() })
    }
);
