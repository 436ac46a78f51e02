//! The bodies, as EMQX 4 has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::config::{PayloadForm, WebhookAction};
use crate::control::context::Context;
use crate::control::presence::{UNDEFINED, subopts};
use crate::gate::observe::{Seen, SeenMessage, SeenWhat};

/// The body of one event.
pub(super) fn body(
    context: &Context,
    action: WebhookAction,
    seen: &Seen,
    form: PayloadForm,
) -> Value {
    let client = &seen.client;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("action", action.name().into());
    put("node", context.node().into());
    if action != WebhookAction::MessagePublish {
        put("clientid", client.client_id.as_str().into());
        put("username", name_or_undefined(client.username.as_deref()));
    }
    match &seen.what {
        SeenWhat::Connected { .. } => {
            let connection = client.connection;
            let address = connection.map(|from| from.peer.ip().to_canonical().to_string());
            put("ipaddress", address.into());
            let keep_alive_s = connection.map_or(0, |from| from.keep_alive_s);
            put("keepalive", keep_alive_s.into());
            put("proto_ver", client.version.level().into());
            match action {
                WebhookAction::ClientConnack => put("conn_ack", "success".into()),
                WebhookAction::ClientConnected => put("connected_at", seen.at_ms.into()),
                _ => {}
            }
        }
        SeenWhat::Disconnected { reason } => {
            put("reason", (*reason).into());
            put("disconnected_at", seen.at_ms.into());
        }
        SeenWhat::Subscribed { filter, options } => {
            put("topic", filter.as_ref().into());
            let opts = match action {
                WebhookAction::ClientSubscribe => json!({ "qos": options.qos.as_u8() }),
                _ => subopts(*options),
            };
            put("opts", opts);
        }
        SeenWhat::Unsubscribed { filter } => put("topic", filter.as_ref().into()),
        SeenWhat::Terminated => put("reason", "normal".into()),
        SeenWhat::Published(message) => {
            put("from_client_id", client.client_id.as_str().into());
            put(
                "from_username",
                name_or_undefined(client.username.as_deref()),
            );
            put_message(&mut body, message, seen.at_ms, form);
        }
        SeenWhat::Delivered(message) | SeenWhat::Acked(message) => {
            put("from_client_id", name_or_undefined(message.from.as_deref()));
            put("from_username", UNDEFINED.into());
            put_message(&mut body, message, seen.at_ms, form);
        }
    }
    body.into()
}

fn name_or_undefined(name: Option<&str>) -> Value {
    name.unwrap_or(UNDEFINED).into()
}

fn put_message(
    body: &mut Map<String, Value>,
    message: &SeenMessage,
    at_ms: u64,
    form: PayloadForm,
) {
    let more = json!({
        "topic": message.topic,
        "qos": message.qos.as_u8(),
        "retain": message.retain,
        "payload": written(&message.payload, form),
        "ts": at_ms,
    });
    if let Value::Object(more) = more {
        body.extend(more);
    }
}

fn written(payload: &[u8], form: PayloadForm) -> String {
    match form {
        PayloadForm::Plain => String::from_utf8_lossy(payload).into_owned(),
        PayloadForm::Base64 => STANDARD.encode(payload),
    }
}
