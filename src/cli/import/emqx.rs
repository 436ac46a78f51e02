//! EMQX 4's flat files: `emqx.conf` and those of its plugins, a setting a line.

use crate::cli::import::emqx_access::Access;
use crate::cli::import::emqx_listeners::Listeners;
use crate::cli::import::emqx_settings::{Settled, settle};
use crate::cli::import::sheet::{Place, Sheet, plain};
use crate::cli::import::{Imported, Text};

/// A setting of EMQX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flat {
    /// Its name.
    pub(super) key: String,
    /// Its value, without quotes.
    pub(super) value: String,
    /// Where it stands.
    pub(super) place: Place,
}

/// A configuration of EMQX 4 as one of this broker.
///
/// `acl` is where its file of access rules lies, which this broker reads as it is; without it the one
/// that the configuration names is taken. `plugins` are the files of its plugins.
///
/// # Errors
/// A sentence: it makes no configuration.
pub fn import(file: &Text, acl: Option<&str>, plugins: &[Text]) -> Result<Imported, String> {
    let mut sheet = Sheet::default();
    sheet.remark(format!("Made from EMQX 4's {}.", file.name));
    let mut all = read(file, &mut sheet);
    if let Some(path) = acl {
        all.retain(|flat| flat.key != "acl_file");
        let place = Place {
            file: path.to_owned(),
            line: 1,
            what: "the file of --acl".to_owned(),
        };
        sheet.set("authorization.sources.file.path", plain(path), &place);
    }
    for plugin in plugins {
        sheet.remark(format!("With its plugins' {}.", plugin.name));
        all.extend(read(plugin, &mut sheet));
    }
    let mut listeners = Listeners::default();
    let mut access = Access::default();
    let mut rewrite = Vec::new();
    for flat in all {
        match flat.key.split('.').next() {
            Some("listener") => listeners.note(flat),
            Some("zone") => listeners.note_zone(flat, &mut sheet),
            Some("auth") => access.note(flat),
            Some("module") => note_module(flat, &mut access, &mut rewrite, &mut sheet),
            Some("web") => access.note_webhook(flat),
            _ => take(flat, &mut sheet),
        }
    }
    listeners.write(&mut sheet);
    write_rewrite(rewrite, &mut sheet);
    access.write(&mut sheet);
    sheet.finish()
}

/// The settings of a file; lines that are none are noted.
fn read(file: &Text, sheet: &mut Sheet) -> Vec<Flat> {
    let mut all: Vec<Flat> = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut place = Place {
            file: file.name.clone(),
            line: index + 1,
            what: line.to_owned(),
        };
        let Some((key, value)) = line.split_once('=') else {
            let why = match line.starts_with("include") {
                true => "included files are not looked at; import them as well, or paste them in",
                false => "this is not `name = value`",
            };
            sheet.lose(&place, why);
            continue;
        };
        let key = key.trim().to_owned();
        place.what.clone_from(&key);
        // What stands later in the file goes before.
        all.retain(|before| before.key != key);
        all.push(Flat {
            value: unquoted(value.trim()).to_owned(),
            key,
            place,
        });
    }
    all
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// A setting that stands for itself.
fn take(flat: Flat, sheet: &mut Sheet) {
    match settle(&flat.key, &flat.value) {
        Settled::To(settings) => {
            for (key, value) in settings {
                sheet.set(key, value, &flat.place);
            }
        }
        Settled::Needless(why) => sheet.drop(&flat.place, why),
        Settled::Lost(why) => sheet.lose(&flat.place, why),
    }
}

/// `module.subscription.<n>.<field>`, `module.rewrite.[pub.|sub.]rule.<n>`.
fn note_module(
    flat: Flat,
    access: &mut Access,
    rewrite: &mut Vec<(u32, &'static str, Flat)>,
    sheet: &mut Sheet,
) {
    let parts: Vec<&str> = flat.key.split('.').collect();
    let number = |text: &str| text.parse().unwrap_or(u32::MAX);
    match parts.as_slice() {
        ["module", "subscription", _, _] => access.note_subscription(flat),
        ["module", "rewrite", "rule", n] => rewrite.push((number(n), "all", flat)),
        ["module", "rewrite", "pub", "rule", n] => rewrite.push((number(n), "publish", flat)),
        ["module", "rewrite", "sub", "rule", n] => rewrite.push((number(n), "subscribe", flat)),
        ["module", "presence", ..] => sheet.drop(
            &flat.place,
            "comings and goings are published to those who subscribe to them below $SYS",
        ),
        _ => sheet.lose(&flat.place, "there is no such module here"),
    }
}

/// EMQX 4 tries the last rule first; here the first is tried first.
fn write_rewrite(mut rules: Vec<(u32, &'static str, Flat)>, sheet: &mut Sheet) {
    rules.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    for (_, action, flat) in rules {
        let words: Vec<&str> = flat.value.split_whitespace().collect();
        let [source, expression, target] = words.as_slice() else {
            sheet.lose(
                &flat.place,
                "this is not a filter, an expression and a topic",
            );
            continue;
        };
        let field = |key: &str, value: &str| {
            let value = crate::config::quoted(value);
            (key.to_owned(), value, flat.place.clone())
        };
        sheet.table(
            "rewrite",
            vec![
                field("action", action),
                field("source_topic", source),
                field("re", expression),
                field("dest_topic", target),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = include_str!("testdata/emqx.conf");
    const PLUGINS: &[(&str, &str)] = &[
        (
            "emqx_auth_http.conf",
            include_str!("testdata/emqx_auth_http.conf"),
        ),
        (
            "emqx_auth_mysql.conf",
            include_str!("testdata/emqx_auth_mysql.conf"),
        ),
        (
            "emqx_web_hook.conf",
            include_str!("testdata/emqx_web_hook.conf"),
        ),
    ];

    /// Settings that come of them, as TOML.
    const WANTED: &[(&str, &str)] = &[
        ("node.name", "\"emqx@127.0.0.1\""),
        ("listeners.tcp.default.bind", "\"0.0.0.0:1883\""),
        ("listeners.tcp.default.max_connections", "1024000"),
        ("listeners.tcp.default.max_conn_rate", "1000"),
        ("listeners.tcp.default.messages_rate", "\"100/10s\""),
        ("listeners.tcp.default.bytes_rate", "\"100KB/10s\""),
        (
            "listeners.tcp.default.access_rules",
            "[\"deny 192.168.0.0/24\", \"allow all\"]",
        ),
        ("listeners.tcp.internal.bind", "\"127.0.0.1:11883\""),
        ("listeners.tcp.internal.enable_authn", "false"),
        (
            "listeners.ssl.default.ssl_options.certfile",
            "\"etc/certs/cert.pem\"",
        ),
        (
            "listeners.ssl.default.ssl_options.versions",
            "[\"tlsv1.3\", \"tlsv1.2\"]",
        ),
        ("listeners.ws.default.websocket.mqtt_path", "\"/mqtt\""),
        ("mqtt.allow_anonymous", "false"),
        ("mqtt.max_packet_size", "\"2MB\""),
        ("mqtt.keepalive_multiplier", "1.5"),
        ("mqtt.session_expiry_interval", "\"2h\""),
        ("mqtt.max_subscriptions", "\"infinity\""),
        ("mqtt.mqueue_priorities", "\"topic/1=10,topic/2=8\""),
        ("mqtt.shared_subscription_strategy", "\"random\""),
        ("mqtt.peer_cert_as_username", "\"cn\""),
        (
            "broker.shared_subscription_group.sample.strategy",
            "\"sticky\"",
        ),
        ("authorization.no_match", "\"deny\""),
        ("authorization.sources.file.path", "\"etc/acl.conf\""),
        ("authorization.cache.max_size", "64"),
        ("flapping_detect.max_count", "30"),
        ("flapping_detect.window_time", "\"1m\""),
        ("flapping_detect.ban_time", "\"5m\""),
        ("retainer.max_payload_size", "\"512KB\""),
        ("sys_topics.sys_msg_interval", "\"1m\""),
        ("log.level", "\"warning\""),
        ("webhook.url", "\"http://127.0.0.1:8991/hook\""),
        ("webhook.enable", "true"),
    ];

    fn text(name: &str, text: &str) -> Text {
        Text {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn imported(conf: &str) -> Imported {
        import(&text("emqx.conf", conf), None, &[]).unwrap()
    }

    /// The value of a setting in the text, without its comment.
    fn value<'t>(done: &'t Imported, key: &str) -> Option<&'t str> {
        let mut lines = done.toml.lines();
        let line = lines.find(|line| line.starts_with(&format!("{key} = ")))?;
        let (_, value) = line.split_once(" = ")?;
        value.split_once(" # ").map(|(value, _)| value)
    }

    #[test]
    fn a_whole_configuration_with_its_plugins() {
        let plugins: Vec<Text> = PLUGINS.iter().map(|(n, t)| text(n, t)).collect();
        let done = import(&text("emqx.conf", CONF), Some("etc/acl.conf"), &plugins).unwrap();
        for (key, want) in WANTED {
            assert_eq!(value(&done, key), Some(*want), "{key}\n{}", done.toml);
        }
        for table in [
            "[[authentication]]\nmechanism = \"password_based\" ",
            "backend = \"mysql\" ",
            "query = \"select password from mqtt_user where username = '%u' limit 1\" ",
            "[[authorization.sources.remote]]\ntype = \"mysql\" ",
            "shape = \"v4\" ",
            "body.clientid = \"%c\" ",
            "[[rewrite]]\naction = \"publish\" ",
            "[[auto_subscribe.topics]]\ntopic = \"connected/%c/%u\" ",
            "[[webhook.rules]]\naction = \"on_message_publish\" ",
        ] {
            assert!(done.toml.contains(table), "{table}\n{}", done.toml);
        }
        let lost = done.lost.join("\n");
        for why in [
            "zone.internal.max_inflight: there is one set of limits for all",
            "cluster.discovery: ",
            "auth.mysql.super_query: ",
            "quota.conn_messages_routing: ",
            "some.thing.else: this broker has nothing of that name",
        ] {
            assert!(lost.contains(why), "{why}\n{lost}");
        }
        assert!(
            done.needless
                .iter()
                .any(|line| line.contains("node.cookie"))
        );
    }

    #[test]
    fn what_does_not_fit_is_noted_with_its_line() {
        let done = imported("mqtt.max_packet_size = 300MB\nmqtt.max_topic_levels = 7\n");
        assert_eq!(value(&done, "mqtt.max_topic_levels"), Some("7"));
        let lost = &done.lost[0];
        assert!(
            lost.starts_with("emqx.conf:1: mqtt.max_packet_size: `mqtt."),
            "{lost}"
        );
    }

    #[test]
    fn the_last_of_two_lines_counts_and_what_is_no_line_is_noted() {
        let done = imported("\nacl_nomatch = allow\nacl_nomatch = deny\ninclude x.conf\nwhat\n");
        assert_eq!(value(&done, "authorization.no_match"), Some("\"deny\""));
        assert!(
            done.toml.contains("# emqx.conf:3: acl_nomatch\n"),
            "{}",
            done.toml
        );
        assert!(done.lost[0].starts_with("emqx.conf:4: include x.conf: included files"));
        assert_eq!(
            done.lost[1],
            "emqx.conf:5: what: this is not `name = value`"
        );
    }

    #[test]
    fn the_last_rule_of_topic_rewrite_comes_first() {
        let done = imported(
            "module.rewrite.rule.1 = a/# ^a/(.+)$ b/$1\nmodule.rewrite.rule.2 = c/# ^c/(.+)$ d/$1\n",
        );
        let (one, two) = (done.toml.find("\"a/#\""), done.toml.find("\"c/#\""));
        assert!(two < one && two.is_some(), "{}", done.toml);
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_there_is_a_configuration_or_a_sentence(
            lines in proptest::collection::vec("(zone\\.external|mqtt|listener\\.tcp|auth\\.http|web\\.hook|x)\\.[a-z_.]{1,20} ?=? ?[ -~]{0,12}", 0..12),
        ) {
            let _ = import(&text("f", &lines.join("\n")), None, &[]);
        }
    }
}
