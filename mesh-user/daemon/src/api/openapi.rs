//! What `GET /v1/openapi.json` says: OpenAPI 3.1, from the list of endpoints and the types of their bodies.

use serde_json::{Map, Value, json};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder, PathItem, path::PathsBuilder};

use super::endpoint::{Endpoint, Schemas};

pub(super) fn describe(endpoints: impl IntoIterator<Item = Endpoint>) -> Value {
    let (mut paths, mut schemas) = (PathsBuilder::new(), Schemas::new());
    for endpoint in endpoints {
        let (path, method) = (endpoint.path, endpoint.method.clone());
        let (operation, referred) = endpoint.description();
        // A path that is there already gets one method more.
        paths = paths.path(path, PathItem::new(method, operation));
        schemas.extend(referred);
    }
    let info = InfoBuilder::new()
        .title("meshd")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The API of a mesh daemon"))
        .build();
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).build();
    let description = OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build();
    let mut description = serde_json::to_value(description).expect("a description is plain JSON");
    flatten_schemas(&mut description);
    description
}

/// Makes one object of schemas that are several objects at once. `allOf` does not do it for types that refuse unknown
/// fields: each part would refuse the fields of the others.
fn flatten_schemas(description: &mut Value) {
    let Some(schemas) = description.pointer("/components/schemas").and_then(Value::as_object).cloned() else { return };
    let flat: Map<String, Value> =
        schemas.iter().map(|(name, schema)| (name.clone(), flattened(schema, &schemas))).collect();
    description["components"]["schemas"] = Value::Object(flat);
}

fn flattened(schema: &Value, schemas: &Map<String, Value>) -> Value {
    match schema {
        Value::Object(fields) => {
            let parts = fields.get("allOf").and_then(Value::as_array);
            if let Some(merged) = parts.and_then(|parts| merged(parts, schemas)) {
                let kept = fields.iter().filter(|(name, _)| *name != "allOf").map(|(n, v)| (n.clone(), v.clone()));
                return Value::Object(merged.into_iter().chain(kept).collect());
            }
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), flattened(value, schemas))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| flattened(item, schemas)).collect()),
        other => other.clone(),
    }
}

/// `None` unless all parts are objects with named fields.
fn merged(parts: &[Value], schemas: &Map<String, Value>) -> Option<Map<String, Value>> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        let referred =
            part["$ref"].as_str().and_then(|name| name.rsplit('/').next()).and_then(|name| schemas.get(name));
        let part = flattened(referred.unwrap_or(part), schemas);
        properties.extend(part.get("properties")?.as_object()?.clone());
        required.extend(part.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    }
    let object = json!({ "type": "object", "properties": properties, "required": required });
    object.as_object().cloned()
}
