//! A request that is answered, with its description: the router and `/v1/openapi.json` are made from the same list.

use std::collections::BTreeMap;

use axum::{
    extract::DefaultBodyLimit,
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use mesh_core::api::ErrorReply;
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Ref, RefOr, Required, ResponseBuilder, Type,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ArrayBuilder, ObjectBuilder, Schema},
    },
};

use super::Api;

pub(super) const JSON: &str = "application/json";
/// Of manifests, in one spelling each.
const KINDS: [&str; 13] = [
    "networkgroup",
    "member",
    "peer",
    "accessrule",
    "configuration",
    "gatewayserver",
    "gatewayclient",
    "publickey",
    "connection",
    "wggatewayservertemplate",
    "wggatewayclienttemplate",
    "network",
    "ip",
];
const EVENTS: &str = "text/event-stream";

pub(super) type Schemas = BTreeMap<String, RefOr<Schema>>;

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    pub(super) method: HttpMethod,
    pub(super) answer: MethodRouter<Api>,
    operation: OperationBuilder,
    /// What the description refers to, by name.
    schemas: Schemas,
}

impl Endpoint {
    pub(super) fn get<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H, summary: &str) -> Endpoint {
        Endpoint::new(HttpMethod::Get, MethodFilter::GET, path, handler, summary)
    }

    pub(super) fn post<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H, summary: &str) -> Endpoint {
        Endpoint::new(HttpMethod::Post, MethodFilter::POST, path, handler, summary)
    }

    pub(super) fn put<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H, summary: &str) -> Endpoint {
        Endpoint::new(HttpMethod::Put, MethodFilter::PUT, path, handler, summary)
    }

    pub(super) fn patch<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H, summary: &str) -> Endpoint {
        Endpoint::new(HttpMethod::Patch, MethodFilter::PATCH, path, handler, summary)
    }

    pub(super) fn delete<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H, summary: &str) -> Endpoint {
        Endpoint::new(HttpMethod::Delete, MethodFilter::DELETE, path, handler, summary)
    }

    fn new<H: Handler<T, Api>, T: 'static>(
        method: HttpMethod,
        filter: MethodFilter,
        path: &'static str,
        handler: H,
        summary: &str,
    ) -> Endpoint {
        let operation = OperationBuilder::new().summary(Some(summary));
        let endpoint = Endpoint { path, method, answer: on(filter, handler), operation, schemas: Schemas::new() };
        endpoint.with_path_parameters().with_failures()
    }

    pub(super) fn body<T: ToSchema>(mut self) -> Endpoint {
        let content = ContentBuilder::new().schema(Some(self.refer::<T>())).build();
        let body = RequestBodyBuilder::new().content(JSON, content).required(Some(Required::True)).build();
        self.operation = self.operation.request_body(Some(body));
        self
    }

    /// A body that is a text in one of these media types.
    pub(super) fn text_body(mut self, media_types: &[&str]) -> Endpoint {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for media_type in media_types {
            let text = ObjectBuilder::new().schema_type(Type::String);
            body = body.content(*media_type, ContentBuilder::new().schema(Some(text)).build());
        }
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    pub(super) fn reply<T: ToSchema>(self) -> Endpoint {
        self.replies::<T>(JSON, "Done")
    }

    /// A reply that is plain text.
    pub(super) fn text(self) -> Endpoint {
        self.replies::<String>("text/plain", "Done")
    }

    /// A stream of server-sent events whose data is `T`.
    pub(super) fn events<T: ToSchema>(self) -> Endpoint {
        self.replies::<T>(EVENTS, "Server-sent events; this is the data of each")
    }

    fn replies<T: ToSchema>(mut self, media_type: &str, description: &str) -> Endpoint {
        let content = ContentBuilder::new().schema(Some(self.refer::<T>())).build();
        let response = ResponseBuilder::new().description(description).content(media_type, content);
        self.operation = self.operation.response("200", response);
        self
    }

    /// Of the body; else that of the whole API holds.
    pub(super) fn limit(mut self, limit: DefaultBodyLimit) -> Endpoint {
        self.answer = self.answer.layer(limit);
        self
    }

    pub(super) fn query(self, name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Endpoint {
        self.parameter(name, ParameterIn::Query, Required::False, description, schema.into())
    }

    pub(super) fn required_query(self, name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Endpoint {
        self.parameter(name, ParameterIn::Query, Required::True, description, schema.into())
    }

    /// It can be resumed.
    pub(super) fn resumable(self) -> Endpoint {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_i64));
        self.query("version", "The last version that the reader has; the header Last-Event-ID says the same", number)
    }

    pub(super) fn description(self) -> (Operation, Schemas) {
        (self.operation.build(), self.schemas)
    }

    fn with_path_parameters(self) -> Endpoint {
        let names = self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        names.fold(self, |endpoint, name| {
            let (description, schema) = path_parameter(name);
            endpoint.parameter(name, ParameterIn::Path, Required::True, description, schema.into())
        })
    }

    fn with_failures(mut self) -> Endpoint {
        for (status, description) in [("4XX", "Refused"), ("503", "The store or the node cannot do it now")] {
            let content = ContentBuilder::new().schema(Some(self.refer::<ErrorReply>())).build();
            let response = ResponseBuilder::new().description(description).content(JSON, content);
            self.operation = self.operation.response(status, response);
        }
        self
    }

    fn parameter(
        mut self,
        name: &str,
        place: ParameterIn,
        required: Required,
        description: &str,
        schema: RefOr<Schema>,
    ) -> Endpoint {
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        self.operation = self.operation.parameter(parameter.description(Some(description)).schema(Some(schema)));
        self
    }

    fn refer<T: ToSchema>(&mut self) -> Ref {
        let mut schemas = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut schemas);
        self.schemas.extend(schemas);
        Ref::from_schema_name(T::name())
    }
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn truth() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

pub(super) fn texts() -> ArrayBuilder {
    ArrayBuilder::new().items(text())
}

/// What the name of a segment stands for, everywhere.
fn path_parameter(name: &str) -> (&'static str, ObjectBuilder) {
    let token = || text().pattern(Some("^[A-Za-z0-9_-]{1,63}$"));
    match name {
        "org" => ("The owner of the groups", text().pattern(Some("^[A-Za-z0-9_.-]{1,63}$"))),
        "ng" => ("Id or label of a network group", text().min_length(Some(1))),
        "member" => ("Id of a member", token()),
        "peer" => ("Id or label of a peer", text().min_length(Some(1))),
        "node" => ("Id of a node", token()),
        "rule" => ("Id of an access rule", token()),
        "resource" => ("Id or label", text().min_length(Some(1))),
        "check" => ("What is asked", text().enum_values(Some(["live", "ready", "startup"]))),
        "kind" => ("Kind of objects, in any of its spellings", text().enum_values(Some(KINDS))),
        _ => ("Name", text().min_length(Some(1))),
    }
}
