//! The OpenAPI document: what the attributes at the handlers say, and what is the same for all.

use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

/// The document without its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace HTTP API",
        description = "Clients, subscriptions, messages, figures and settings of a Millrace broker. \
                       Names and shapes follow EMQX 5.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/")),
    security(("basic" = []), ("bearer" = [])),
)]
struct Document;

/// The document to which paths are added.
pub(super) fn begun() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    for (name, scheme) in [
        ("basic", HttpAuthScheme::Basic),
        ("bearer", HttpAuthScheme::Bearer),
    ] {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
        components.add_security_scheme(name, scheme);
    }
    document
}

/// Names each operation by its path, and says of each answer what its status means where the handler
/// does not.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(format!("{method}{}", words(path)));
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    meaning(status).clone_into(&mut response.description);
                }
            }
        }
    }
}

/// `/api/v5/clients/{clientid}` -> `_clients_clientid`
fn words(path: &str) -> String {
    let (path, version) = match path.strip_prefix("/api/v5") {
        Some(path) => (path, ""),
        None => (path, "_root"),
    };
    let path = format!("{version}{}", path.replace(['/', '-'], "_"));
    path.replace(['{', '}'], "")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "as asked",
        "400" => "the request is wrong; nothing was done",
        "401" => "who asks is not known",
        "403" => "whoever asks may not do this",
        "404" => "there is no such thing",
        "409" => "there is one of that name",
        "413" => "the body is larger than 1 MiB",
        "503" => "a core does not answer; try again",
        _ => "see the status",
    }
}
