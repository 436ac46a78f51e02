//! Clients' comings and goings as messages: `$SYS/brokers/<node>/clients/<clientid>/connected` and the
//! like, with EMQX's bodies.

use serde_json::{Value, json};

use crate::config::SysEventMessages;
use crate::control::announce::Announcer;
use crate::control::context::Context;
use crate::gate::observe::{Kinds, Seen, SeenWhat};
use crate::mqtt::decode_subscribe::SubscribeOptions;

/// EMQX's word for a name that is not there.
pub const UNDEFINED: &str = "undefined";

/// Which events the settings want.
pub fn kinds(settings: &SysEventMessages) -> Kinds {
    let all = [
        (settings.client_connected, Kinds::CONNECTED),
        (settings.client_disconnected, Kinds::DISCONNECTED),
        (settings.client_subscribed, Kinds::SUBSCRIBED),
        (settings.client_unsubscribed, Kinds::UNSUBSCRIBED),
    ];
    let wanted = all.into_iter().filter(|(wanted, _)| *wanted);
    wanted.fold(Kinds::NONE, |kinds, (_, kind)| kinds.and(kind))
}

/// Announces an event, if it is one that `kinds` wants.
pub fn tell(context: &Context, announcer: &Announcer, kinds: Kinds, seen: &Seen) {
    let Some((kind, event, body)) = body(context, seen) else {
        return;
    };
    if kinds.has(kind) {
        let (node, client) = (context.node(), &seen.client.client_id);
        let topic = format!("$SYS/brokers/{node}/clients/{client}/{event}");
        announcer.say(topic, body.to_string());
    }
}

fn body(context: &Context, seen: &Seen) -> Option<(Kinds, &'static str, Value)> {
    let client = &seen.client;
    let version = client.version;
    let mut body = json!({
        "clientid": client.client_id.as_str(),
        "username": client.username.as_deref().unwrap_or(UNDEFINED),
        "ts": seen.at_ms,
    });
    let more = |body: &mut Value, more: Value| {
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
    };
    if let SeenWhat::Connected { .. } | SeenWhat::Disconnected { .. } = seen.what {
        let connection = client.connection;
        more(
            &mut body,
            json!({
                "ipaddress": connection.map(|from| from.peer.ip().to_canonical().to_string()),
                "sockport": connection.map_or(0, |from| context.port_of(from.listener)),
                "proto_ver": version.level(),
                "proto_name": version.protocol_name(),
                "protocol": "mqtt",
            }),
        );
    }
    let (kind, event) = match &seen.what {
        SeenWhat::Connected {
            clean_start,
            expiry_s,
        } => {
            let keep_alive_s = client.connection.map_or(0, |from| from.keep_alive_s);
            more(
                &mut body,
                json!({
                    "keepalive": keep_alive_s,
                    "expiry_interval": expiry_s,
                    "connected_at": seen.at_ms,
                    "connack": 0,
                    "clean_start": clean_start,
                }),
            );
            (Kinds::CONNECTED, "connected")
        }
        SeenWhat::Disconnected { reason } => {
            more(
                &mut body,
                json!({ "reason": reason, "disconnected_at": seen.at_ms }),
            );
            (Kinds::DISCONNECTED, "disconnected")
        }
        SeenWhat::Subscribed { filter, options } => {
            let subopts = subopts(*options);
            more(
                &mut body,
                json!({ "topic": filter, "subopts": subopts, "protocol": "mqtt" }),
            );
            (Kinds::SUBSCRIBED, "subscribed")
        }
        SeenWhat::Unsubscribed { filter } => {
            more(&mut body, json!({ "topic": filter, "protocol": "mqtt" }));
            (Kinds::UNSUBSCRIBED, "unsubscribed")
        }
        _ => return None,
    };
    Some((kind, event, body))
}

/// Options of a subscription under EMQX's short names.
pub fn subopts(options: SubscribeOptions) -> Value {
    json!({
        "qos": options.qos.as_u8(),
        "nl": u8::from(options.no_local),
        "rap": u8::from(options.retain_as_published),
        "rh": options.retain_handling as u8,
    })
}
