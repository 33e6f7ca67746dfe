//! The OpenAPI document, made from the table of operations: request schemas by the forms that read the bodies,
//! response schemas by the types that are shown.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::table::{Access, Operation, operations};
use crate::arm::envelope::ErrorBody;
use crate::arm::{API_VERSION, API_VERSIONS};
use crate::forms::Reading;

/// Makes the document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for operation in operations() {
        let template = path(operation.template);
        let described = describe(operation, &mut generator, &json!(error));
        let entry = paths.entry(template).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            methods.insert(operation.method.as_str().to_ascii_lowercase(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "scoregate control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Azure Resource Manager's shapes for online endpoints, deployments and role assignments. Every operation names the right that it needs in x-scoregate-action.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"entra": []}],
        "paths": paths,
        "components": {
            "parameters": {"apiVersion": {
                "name": "api-version", "in": "query", "required": true,
                "schema": {"type": "string", "enum": API_VERSIONS, "default": API_VERSION},
            }},
            "securitySchemes": {
                "entra": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token for managing."},
                "scoring": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token for scoring."},
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

/// A template as a path: `{scope}` is a parameter that holds slashes.
fn path(template: &str) -> String {
    if template.starts_with('/') { template.to_owned() } else { format!("/{template}") }
}

fn describe(operation: &Operation, generator: &mut schemars::SchemaGenerator, error: &Value) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": responses(operation, generator, error),
    });
    let Value::Object(fields) = &mut described else { return described };
    match &operation.access {
        Access::Public(_) => {
            fields.insert("security".to_owned(), json!([]));
        }
        Access::Anyone(_) => {}
        Access::Granted { action, .. } => {
            if operation.scoring {
                fields.insert("security".to_owned(), json!([{"scoring": []}]));
            }
            fields.insert("x-scoregate-action".to_owned(), json!(action));
        }
    }
    if let Some(read) = operation.body {
        let reading = Reading::describe_body();
        let form = reading.form(None);
        read(&form);
        let body = json!({"required": !operation.optional, "content": {"application/json": {"schema": form.close()}}});
        fields.insert("requestBody".to_owned(), body);
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let named = operation.template.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = |name: &str| {
        let schema = match name {
            "scope" => json!({
                "type": "string",
                "description": "A resource id without its first slash, slashes and all; empty for the root.",
            }),
            _ => json!({"type": "string"}),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    };
    let mut parameters: Vec<Value> = named.map(in_path).collect();
    if !matches!(operation.access, Access::Public(_)) {
        parameters.push(json!({"$ref": "#/components/parameters/apiVersion"}));
    }
    let query = operation.query.iter();
    parameters.extend(query.map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})));
    parameters
}

fn responses(operation: &Operation, generator: &mut schemars::SchemaGenerator, error: &Value) -> Value {
    let mut responses = Map::new();
    for (status, schema) in &operation.answers {
        let mut response = json!({"description": http::StatusCode::from_u16(*status)
            .ok().and_then(|status| status.canonical_reason()).unwrap_or("")});
        if let (Some(schema), Value::Object(fields)) = (schema, &mut response) {
            let schema = schema(generator);
            fields.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
        }
        responses.insert(status.to_string(), response);
    }
    let refused = json!({
        "description": "What was asked for was not done.",
        "content": {"application/json": {"schema": error}},
    });
    responses.insert("default".to_owned(), refused);
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_the_golden_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openapi.json");
        let made = format!("{:#}\n", super::document());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, &made).unwrap();
        }
        let golden = std::fs::read_to_string(file).unwrap();
        assert!(made == golden, "run with UPDATE_GOLDEN=1 and review the difference");
    }
}
