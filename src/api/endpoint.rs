//! An endpoint: a handler together with its description. Routes and `/openapi.json` are made from the same
//! value, so a handler can't be described wrongly by being forgotten.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::access::Deed;
use super::error::Code;
use super::limits::REQUEST_TIMEOUT;
use super::shapes::{After, Limit};
use super::shares::Class;
use super::state::ApiState;

/// Makes the schema of one type, or a reference to it.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A handler, with everything that a person or a program has to know about it.
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// `operationId`: unique, in camel case.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Content>,
    pub(super) answers: Vec<Answer>,
    pub(super) timeout: Duration,
    pub(super) class: Class,
    /// What it does, in the table of who may do what. Every endpoint has one.
    pub(super) deed: Option<Deed>,
    /// The errors that are particular to it; the others follow from its parameters and body.
    pub(super) fails: Vec<Code>,
    pub(super) handler: MethodRouter<ApiState>,
}

/// A parameter in the path, the query or a header.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) required: bool,
    pub(super) description: Cow<'static, str>,
    pub(super) schema: SchemaOf,
}

/// The type of a body.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: Option<SchemaOf>,
}

/// An answer other than an error.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) content: Vec<Content>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn json<T: JsonSchema>() -> Content {
    Content { media_type: "application/json", schema: Some(schema_of::<T>) }
}

macro_rules! method {
    ($name:ident) => {
        /// An endpoint with this HTTP method.
        pub(super) fn $name<H, T>(
            path: &'static str,
            id: &'static str,
            summary: &'static str,
            handler: H,
        ) -> Self
        where
            H: Handler<T, ApiState>,
            T: 'static,
        {
            Self::new(stringify!($name), path, id, summary, routing::$name(handler))
        }
    };
}

impl Endpoint {
    method!(get);
    method!(put);
    method!(post);
    method!(delete);

    fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: MethodRouter<ApiState>,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            timeout: REQUEST_TIMEOUT,
            class: Class::Ordinary,
            deed: None,
            fails: Vec::new(),
            handler,
        }
    }

    /// What it does, in the table of who may do what.
    pub(super) fn does(self, deed: Deed) -> Self {
        Self { deed: Some(deed), ..self }
    }

    /// A parameter in the path.
    pub(super) fn path<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>(name, "path", true, description)
    }

    /// A parameter of the query that may be omitted.
    pub(super) fn query<T: JsonSchema>(
        self,
        name: &'static str,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.parameter::<T>(name, "query", false, description)
    }

    /// A parameter of the query that is required.
    pub(super) fn required_query<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        self.parameter::<T>(name, "query", true, description)
    }

    /// A header that may be omitted.
    pub(super) fn header<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        self.parameter::<T>(name, "header", false, description)
    }

    /// The parameters of a list: `after` and `limit`.
    pub(super) fn paged(self) -> Self {
        self.paged_by::<After>()
    }

    /// The parameters of a list whose `after` is of type `T` rather than any text.
    pub(super) fn paged_by<T: JsonSchema>(self) -> Self {
        let limit = "How many items at most; large items make it fewer.";
        self.query::<T>("after", "Only what comes after this: the `next` of the page before.")
            .query::<Limit>("limit", limit)
    }

    /// The request has a body in JSON.
    pub(super) fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(json::<T>());
        self
    }

    /// The request has a body of bytes.
    pub(super) fn takes_bytes(mut self, media_type: &'static str) -> Self {
        self.body = Some(Content { media_type, schema: None });
        self
    }

    /// An answer in JSON.
    pub(super) fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, vec![json::<T>()])
    }

    /// An answer with another media type.
    pub(super) fn answers_other(
        self,
        status: u16,
        description: &'static str,
        media_type: &'static str,
    ) -> Self {
        self.answer(status, description, vec![Content { media_type, schema: None }])
    }

    /// A further media type of the last answer.
    pub(super) fn or_as(mut self, media_type: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.content.push(Content { media_type, schema: None });
        }
        self
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, Vec::new())
    }

    /// How long the request may take until its answer begins.
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Errors that it may end in, in addition to those that follow from its parameters and body.
    pub(super) fn fails(mut self, codes: &[Code]) -> Self {
        self.fails.extend_from_slice(codes);
        self
    }

    /// All errors that it may end in.
    pub(super) fn codes(&self) -> BTreeSet<Code> {
        let mut codes: BTreeSet<Code> = self.fails.iter().copied().collect();
        codes.extend([Code::HostRefused, Code::OriginRefused, Code::Internal, Code::StoreDamaged]);
        codes.extend([Code::NotAuthenticated, Code::TooManyRequests, Code::IdentityUnclear]);
        match self.deed {
            Some(deed) if deed.verbs().is_empty() => {}
            Some(_) | None => codes.extend([Code::NotAllowed]),
        }
        if self.deed.is_some_and(Deed::changes) {
            codes.insert(Code::AuditUnavailable);
        }
        codes.extend([Code::TimedOut, Code::TooBusy]);
        if self.path.starts_with("/api/") {
            codes.extend([Code::BadParameter, Code::StoreUnavailable]);
        }
        if self.parameters.iter().any(|parameter| parameter.place == "header") {
            codes.insert(Code::BadHeader);
        }
        if let Some(body) = &self.body {
            codes.extend([
                Code::BadHeader,
                Code::BadBody,
                Code::BodyTooSlow,
                Code::BodyTooLarge,
                // The server is stopping.
                Code::NotReady,
            ]);
            if body.schema.is_some() {
                codes.insert(Code::UnsupportedMediaType);
            }
        }
        if self.path.starts_with("/api/v1/runs/{id}") {
            codes.insert(Code::RunNotFound);
        }
        codes
    }

    /// The request steers a run, so it is in the class that has a share of its own.
    pub(super) fn urgent(self) -> Self {
        self.of_class(Class::Urgent)
    }

    /// The request takes its share from this class.
    pub(super) fn of_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    fn answer(mut self, status: u16, description: &'static str, content: Vec<Content>) -> Self {
        self.answers.push(Answer { status, description, content });
        self
    }

    fn parameter<T: JsonSchema>(
        mut self,
        name: &'static str,
        place: &'static str,
        required: bool,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        let description = description.into();
        let schema = schema_of::<T>;
        self.parameters.push(Parameter { name, place, required, description, schema });
        self
    }
}
