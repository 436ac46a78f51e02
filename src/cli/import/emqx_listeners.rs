//! EMQX 4's listeners, and its zones: here a zone's limits are those of all clients, but for what a
//! listener has.

use std::collections::BTreeMap;

use crate::cli::import::emqx::Flat;
use crate::cli::import::emqx_settings::{Settled, settle_protocol};
use crate::cli::import::sheet::{Place, Sheet, plain};
use crate::config::quoted;

/// The zone of listeners that name none.
const MAIN: &str = "external";

/// Names below a listener, and ours; `{}` is a list, the values of which come by number.
const SAME: &[(&str, &str)] = &[
    ("max_connections", "max_connections"),
    ("max_conn_rate", "max_conn_rate"),
    ("backlog", "backlog"),
    ("send_timeout", "send_timeout"),
    ("proxy_protocol_timeout", "proxy_protocol_timeout"),
    ("mountpoint", "mountpoint"),
    ("rate_limit", "rate_limit"),
    ("handshake_timeout", "ssl_options.handshake_timeout"),
    ("depth", "ssl_options.depth"),
    ("keyfile", "ssl_options.keyfile"),
    ("certfile", "ssl_options.certfile"),
    ("cacertfile", "ssl_options.cacertfile"),
    ("verify", "ssl_options.verify"),
    ("mqtt_path", "websocket.mqtt_path"),
    ("mqtt_piggyback", "websocket.mqtt_piggyback"),
    ("proxy_address_header", "websocket.proxy_address_header"),
    ("proxy_port_header", "websocket.proxy_port_header"),
    ("max_frame_size", "websocket.max_frame_size"),
];
const SWITCHES: &[(&str, &str)] = &[
    ("nodelay", "nodelay"),
    ("proxy_protocol", "proxy_protocol"),
    ("fail_if_no_peer_cert", "ssl_options.fail_if_no_peer_cert"),
    ("honor_cipher_order", "ssl_options.honor_cipher_order"),
    ("reuse_sessions", "ssl_options.reuse_sessions"),
    ("enable_crl_check", "ssl_options.enable_crl_check"),
    ("fail_if_no_subprotocol", "websocket.fail_if_no_subprotocol"),
    ("check_origin_enable", "websocket.check_origin_enable"),
    ("allow_origin_absence", "websocket.allow_origin_absence"),
];
const LISTS: &[(&str, &str)] = &[
    ("tls_versions", "ssl_options.versions"),
    ("ciphers", "ssl_options.ciphers"),
    ("supported_subprotocols", "websocket.supported_subprotocols"),
    ("check_origins", "websocket.check_origins"),
];
const NEEDLESS: &[(&str, &str)] = &[
    ("acceptors", "every core accepts"),
    ("active_n", "what has come is read at once"),
    (
        "send_timeout_close",
        "a client that takes nothing is always cut",
    ),
    ("recbuf", "the kernel finds the size of socket buffers"),
    ("sndbuf", "the kernel finds the size of socket buffers"),
    ("buffer", "receive buffers are shared by all connections"),
    ("tune_buffer", "the kernel finds the size of socket buffers"),
    ("high_watermark", "mqtt.max_out_queue bounds what waits"),
    ("reuseaddr", "it is always so"),
    ("secure_renegotiate", "TLS is not renegotiated"),
    ("hibernate_after", "it is about the Erlang machine"),
    (
        "idle_timeout",
        "keep-alive and mqtt.idle_timeout bound silence",
    ),
    ("compress", "frames are not compressed"),
    (
        "verify_protocol_header",
        "see websocket.fail_if_no_subprotocol",
    ),
];

/// Listeners and zones, as they were found.
#[derive(Default)]
pub(super) struct Listeners {
    /// By kind and EMQX's name.
    all: BTreeMap<(String, String), Vec<Flat>>,
    /// Rates and the like of zones, by zone, for their listeners.
    of_zones: Vec<(String, String, Flat)>,
}

impl Listeners {
    /// `listener.<kind>.<name>[.<setting>]`.
    pub(super) fn note(&mut self, flat: Flat) {
        let mut parts = flat.key.splitn(4, '.').skip(1).map(str::to_owned);
        let (kind, name) = (parts.next().unwrap_or_default(), parts.next());
        let key = (kind, name.unwrap_or_default());
        self.all.entry(key).or_default().push(flat);
    }

    /// `zone.<zone>.<setting>`.
    pub(super) fn note_zone(&mut self, flat: Flat, sheet: &mut Sheet) {
        let mut parts = flat.key.splitn(3, '.').skip(1);
        let (Some(zone), Some(name)) = (parts.next(), parts.next()) else {
            return sheet.lose(&flat.place, "this is no setting of a zone");
        };
        let own = [
            "rate_limit.conn_messages_in",
            "rate_limit.conn_bytes_in",
            "mountpoint",
            "bypass_auth_plugins",
            "publish_limit",
        ];
        if own.contains(&name) {
            let (zone, name) = (zone.to_owned(), name.to_owned());
            return self.of_zones.push((zone, name, flat));
        }
        match settle_protocol(name, &flat.value) {
            Some(Settled::Needless(why)) => sheet.drop(&flat.place, why),
            Some(Settled::Lost(why)) => sheet.lose(&flat.place, why),
            Some(Settled::To(settings)) if zone == MAIN => {
                for (key, value) in settings {
                    sheet.set(key, value, &flat.place);
                }
            }
            Some(Settled::To(_)) => sheet.lose(
                &flat.place,
                format!("there is one set of limits for all clients: that of zone {MAIN}"),
            ),
            None => sheet.lose(&flat.place, "this broker has nothing of that name"),
        }
    }

    /// Writes everything down.
    pub(super) fn write(self, sheet: &mut Sheet) {
        let mut zones: Vec<(String, String)> = Vec::new();
        for ((kind, name), settings) in &self.all {
            let bind = format!("listener.{kind}.{name}");
            let bind = settings.iter().find(|flat| flat.key == bind);
            let (Some(bind), "tcp" | "ssl" | "ws" | "wss") = (bind, kind.as_str()) else {
                for flat in settings {
                    let why = match kind.as_str() {
                        "quic" => "there is no QUIC",
                        _ => "its listener has no address",
                    };
                    sheet.lose(&flat.place, why);
                }
                continue;
            };
            let prefix = format!("listeners.{kind}.{}", own_name(name));
            sheet.set(format!("{prefix}.bind"), plain(&bind.value), &bind.place);
            let mut zone = MAIN.to_owned();
            let mut rules = Vec::new();
            for flat in settings {
                let Some((_, rest)) = flat.key.split_once(&format!("{kind}.{name}.")) else {
                    continue;
                };
                match rest.split_once('.') {
                    Some(("access", number)) => {
                        rules.push((number.parse().unwrap_or(u32::MAX), flat))
                    }
                    _ if rest == "zone" => zone.clone_from(&flat.value),
                    _ => setting(&prefix, rest, flat, sheet),
                }
            }
            access_rules(&prefix, rules, sheet);
            zones.push((prefix, zone));
        }
        for (zone, name, flat) in &self.of_zones {
            let of_zone = zones.iter().filter(|(_, of)| of == zone);
            let listeners: Vec<&String> = of_zone.map(|(prefix, _)| prefix).collect();
            if listeners.is_empty() {
                sheet.lose(&flat.place, "no listener is of this zone");
            }
            for prefix in listeners {
                zone_setting(prefix, name, flat, sheet);
            }
        }
    }
}

/// EMQX's first listener of a kind is `external`, ours is `default`.
fn own_name(name: &str) -> &str {
    match name {
        "external" => "default",
        other => other,
    }
}

fn setting(prefix: &str, name: &str, flat: &Flat, sheet: &mut Sheet) {
    let named = |table: &'static [(&str, &'static str)]| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, own)| *own)
    };
    let value = &flat.value;
    if let Some(own) = named(SAME) {
        sheet.set(format!("{prefix}.{own}"), plain(value), &flat.place);
    } else if let Some(own) = named(SWITCHES) {
        let value = match value.as_str() {
            "on" => "true",
            "off" => "false",
            other => other,
        };
        sheet.set(format!("{prefix}.{own}"), plain(value), &flat.place);
    } else if let Some(own) = named(LISTS) {
        sheet.set(format!("{prefix}.{own}"), list(value), &flat.place);
    } else if let "peer_cert_as_username" | "peer_cert_as_clientid" = name {
        // Here it is for all listeners.
        sheet.set(format!("mqtt.{name}"), plain(value), &flat.place);
    } else if let Some(why) = named(NEEDLESS) {
        sheet.drop(&flat.place, why);
    } else {
        sheet.lose(&flat.place, lost(name));
    }
}

fn lost(name: &str) -> &'static str {
    match name {
        "key_password" => "keys with a password are not read; store the key without one",
        "dhfile" => "the groups of Diffie and Hellman are fixed",
        "psk_ciphers" => "there are no pre-shared keys",
        name if name.starts_with("ocsp") || name.contains("stapling") => {
            "an answer of OCSP is read from ssl_options.ocsp_staple_file"
        }
        name if name.starts_with("crl") => "revocation lists are read from ssl_options.crl_file",
        "partial_chain" | "verify_peer_ext_key_usage" => "chains are always looked at as a whole",
        name if name.starts_with("deflate_opts") => "frames are not compressed",
        _ => "this broker has nothing of that name",
    }
}

/// `a,b` as a list of TOML.
fn list(value: &str) -> String {
    let words = value
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(quoted).collect();
    format!("[{}]", words.join(", "))
}

fn access_rules(prefix: &str, mut rules: Vec<(u32, &Flat)>, sheet: &mut Sheet) {
    rules.sort_by_key(|(number, _)| *number);
    let Some((_, first)) = rules.first() else {
        return;
    };
    let words: Vec<&str> = rules.iter().map(|(_, flat)| flat.value.as_str()).collect();
    let place = Place {
        what: "listener's access.*".to_owned(),
        ..first.place.clone()
    };
    sheet.set(
        format!("{prefix}.access_rules"),
        list(&words.join(",")),
        &place,
    );
}

/// What a zone has that here a listener has.
fn zone_setting(prefix: &str, name: &str, flat: &Flat, sheet: &mut Sheet) {
    let mut set = |key: &str, value: String| {
        sheet.set(format!("{prefix}.{key}"), value, &flat.place);
    };
    let per = || quoted(&flat.value.replace(',', "/").replace(' ', ""));
    match (name, flat.value.as_str()) {
        ("rate_limit.conn_messages_in" | "publish_limit", _) => set("messages_rate", per()),
        ("rate_limit.conn_bytes_in", _) => set("bytes_rate", per()),
        ("mountpoint", value) => set("mountpoint", quoted(value)),
        ("bypass_auth_plugins", "true" | "on") => set("enable_authn", "false".to_owned()),
        _ => {}
    }
}
