//! What becomes of EMQX 4's settings that stand for themselves: one table of names.

use crate::cli::import::sheet::plain;
use crate::config::quoted;

/// What becomes of a setting.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Settled {
    /// Settings of this broker with their values as TOML.
    To(Vec<(String, String)>),
    /// It is not needed here, and why.
    Needless(&'static str),
    /// It cannot be carried over, and why.
    Lost(&'static str),
}

/// How a value is carried over.
#[derive(Clone, Copy)]
enum How {
    /// As it is.
    Same,
    /// `on` and `off` are true and false.
    Switch,
    /// 0 is `infinity`.
    Unlimited,
    /// 0 is the greatest there is.
    Greatest,
    /// A percentage loses its sign.
    Percent,
    /// Half of what is wanted.
    Doubled,
    /// `none` is `disabled`.
    Priorities,
    /// Three settings in one.
    Flapping,
    /// The level of the log.
    Level,
    /// A port, or an address with one.
    Port,
}

/// EMQX's names below `mqtt.` and `zone.external.`, that here are below `mqtt.`.
const PROTOCOL: &[(&str, How)] = &[
    ("max_packet_size", How::Same),
    ("max_clientid_len", How::Same),
    ("max_topic_levels", How::Same),
    ("max_qos_allowed", How::Same),
    ("max_topic_alias", How::Same),
    ("retain_available", How::Switch),
    ("wildcard_subscription", How::Switch),
    ("shared_subscription", How::Switch),
    ("exclusive_subscription", How::Switch),
    ("ignore_loop_deliver", How::Switch),
    ("response_information", How::Same),
    ("idle_timeout", How::Same),
    ("server_keepalive", How::Same),
    ("max_subscriptions", How::Unlimited),
    ("upgrade_qos", How::Switch),
    ("max_inflight", How::Greatest),
    ("retry_interval", How::Same),
    ("max_awaiting_rel", How::Greatest),
    ("await_rel_timeout", How::Same),
    ("session_expiry_interval", How::Same),
    ("max_mqueue_len", How::Unlimited),
    ("mqueue_priorities", How::Priorities),
    ("mqueue_default_priority", How::Same),
    ("mqueue_store_qos0", How::Switch),
    ("use_username_as_clientid", How::Switch),
];

/// EMQX's names, and ours.
const OTHERS: &[(&str, &str, How)] = &[
    (
        "keepalive_backoff",
        "mqtt.keepalive_multiplier",
        How::Doubled,
    ),
    ("allow_anonymous", "mqtt.allow_anonymous", How::Switch),
    ("acl_nomatch", "authorization.no_match", How::Same),
    ("acl_file", "authorization.sources.file.path", How::Same),
    ("acl_deny_action", "authorization.deny_action", How::Same),
    (
        "enable_acl_cache",
        "authorization.cache.enable",
        How::Switch,
    ),
    (
        "acl_cache_max_size",
        "authorization.cache.max_size",
        How::Same,
    ),
    ("acl_cache_ttl", "authorization.cache.ttl", How::Same),
    (
        "enable_flapping_detect",
        "flapping_detect.enable",
        How::Switch,
    ),
    ("flapping_detect_policy", "flapping_detect", How::Flapping),
    ("node.name", "node.name", How::Same),
    (
        "broker.sys_interval",
        "sys_topics.sys_msg_interval",
        How::Same,
    ),
    (
        "broker.sys_heartbeat",
        "sys_topics.sys_heartbeat_interval",
        How::Same,
    ),
    (
        "broker.shared_subscription_strategy",
        "mqtt.shared_subscription_strategy",
        How::Same,
    ),
    (
        "retainer.max_retained_messages",
        "retainer.max_retained_messages",
        How::Unlimited,
    ),
    (
        "retainer.max_payload_size",
        "retainer.max_payload_size",
        How::Same,
    ),
    (
        "retainer.expiry_interval",
        "retainer.expiry_interval",
        How::Same,
    ),
    (
        "retainer.stop_publish_clear_msg",
        "retainer.stop_publish_clear_msg",
        How::Switch,
    ),
    ("delayed.enable", "delayed.enable", How::Switch),
    (
        "delayed.max_delayed_messages",
        "delayed.max_delayed_messages",
        How::Unlimited,
    ),
    ("log.level", "log.level", How::Level),
    ("log.formatter", "log.format", How::Same),
    (
        "os_mon.cpu_check_interval",
        "sysmon.check_interval",
        How::Same,
    ),
    (
        "os_mon.cpu_high_watermark",
        "sysmon.cpu_high_watermark",
        How::Percent,
    ),
    (
        "os_mon.cpu_low_watermark",
        "sysmon.cpu_low_watermark",
        How::Percent,
    ),
    (
        "os_mon.sysmem_high_watermark",
        "sysmon.sysmem_high_watermark",
        How::Percent,
    ),
    (
        "dashboard.default_user.login",
        "dashboard.default_username",
        How::Same,
    ),
    (
        "dashboard.default_user.password",
        "dashboard.default_password",
        How::Same,
    ),
    ("dashboard.listener.http", "http.listen", How::Port),
    ("dashboard.listener.https", "http.listen", How::Port),
    (
        "dashboard.listener.https.certfile",
        "http.tls.certfile",
        How::Same,
    ),
    (
        "dashboard.listener.https.keyfile",
        "http.tls.keyfile",
        How::Same,
    ),
    ("management.listener.http", "http.listen_v4", How::Port),
];

/// Beginnings of names that nothing here needs, and why.
const NEEDLESS: &[(&str, &str)] = &[
    (
        "node.cookie",
        "there is no Erlang distribution to be kept from others",
    ),
    (
        "node.data_dir",
        "the data of this broker has another form; see node.data_dir",
    ),
    ("node.", "it is about the Erlang machine"),
    ("rpc.", "it is about calls between EMQX's nodes"),
    ("force_gc_policy", "memory is freed when it is not needed"),
    (
        "force_shutdown_policy",
        "mqtt.max_out_queue and node.queue_memory bound a client's memory",
    ),
    ("enable_stats", "figures are always kept"),
    ("enable_ban", "bans are always looked at"),
    (
        "broker.session_locking_strategy",
        "a client id has one home core",
    ),
    ("broker.route_batch_clean", "routes are cleaned as they go"),
    (
        "broker.shared_dispatch_ack_enabled",
        "what a member does not acknowledge goes to another",
    ),
    ("broker.perf.", "it is about EMQX's own tables"),
    ("sysmon.", "it is about the Erlang machine"),
    ("vm_mon.", "it is about the Erlang machine"),
    ("os_mon.", "it is looked at otherwise here; see sysmon"),
    ("alarm.", "alarms are kept in the data directory"),
    ("plugins.", "what plugins do is built in"),
    ("modules.", "what modules do is built in"),
    ("management.max_row_limit", "pages have up to 10000 rows"),
    ("dashboard.listener.http.", "the API needs no such setting"),
    ("dashboard.listener.https.", "the API needs no such setting"),
    ("management.listener.http.", "the API needs no such setting"),
    ("prometheus.", "figures are at /metrics for whoever asks"),
    ("telemetry.", "nothing is told to anybody"),
];

/// Beginnings of names that have nothing here, and why.
const LOST: &[(&str, &str)] = &[
    ("cluster.", "this broker is one node; there is no cluster"),
    (
        "log.",
        "the log goes to standard error; the service manager keeps it",
    ),
    (
        "retainer.storage_type",
        "retained messages are kept in memory",
    ),
    (
        "enable_acl",
        "access is always looked at; authorization.no_match = \"allow\" lets everything be",
    ),
    (
        "rate_limit.",
        "give it to each listener: messages_rate, bytes_rate",
    ),
    (
        "quota.",
        "messages are limited for each connection: listeners.<kind>.<name>.messages_rate",
    ),
    (
        "conn_congestion.",
        "clients that do not read are not alarmed about",
    ),
    ("strict_mode", "packets are always read strictly"),
    (
        "mountpoint",
        "give it to each listener: listeners.<kind>.<name>.mountpoint",
    ),
    ("publish_limit", "give it to each listener: messages_rate"),
    (
        "management.default_application.",
        "make an API key: broker ctl api_keys add",
    ),
    (
        "management.listener.https",
        "one address has TLS: http.listen with http.tls",
    ),
    ("psk.", "there are no pre-shared keys"),
];

/// What becomes of a setting outside of listeners, zones and plugins.
pub(super) fn settle(key: &str, value: &str) -> Settled {
    if let Some(group) = group_of(key) {
        let key = format!("broker.shared_subscription_group.{group}.strategy");
        return Settled::To(vec![(key, plain(value))]);
    }
    let bare = key.strip_prefix("mqtt.").unwrap_or(key);
    if let Some(settled) = settle_protocol(bare, value) {
        return settled;
    }
    let begins = |(name, _): &&(&str, &'static str)| {
        key == *name || name.ends_with('.') && key.starts_with(name)
    };
    if let Some((_, why)) = LOST.iter().find(|(name, _)| *name == key) {
        return Settled::Lost(why);
    }
    if let Some((_, why)) = NEEDLESS.iter().find(begins) {
        return Settled::Needless(why);
    }
    match LOST.iter().find(begins) {
        Some((_, why)) => Settled::Lost(why),
        None => Settled::Lost("this broker has nothing of that name"),
    }
}

/// The same for what may also stand in a zone.
pub(super) fn settle_protocol(name: &str, value: &str) -> Option<Settled> {
    let protocol = PROTOCOL.iter().find(|(known, _)| *known == name);
    let protocol = protocol.map(|(known, how)| (format!("mqtt.{known}"), *how));
    let other = || {
        let found = OTHERS.iter().find(|(known, ..)| *known == name);
        found.map(|(_, own, how)| ((*own).to_owned(), *how))
    };
    if let Some((key, how)) = protocol.or_else(other) {
        return Some(carried(key, value, how));
    }
    let in_zone = |(known, _): &&(&str, &'static str)| *known == name;
    if let Some((_, why)) = NEEDLESS.iter().find(in_zone) {
        return Some(Settled::Needless(why));
    }
    let lost = LOST.iter().find(|(known, _)| {
        *known == name || {
            !known.starts_with("log.")
                && known.ends_with('.')
                && name.starts_with(known)
                && in_zone_only(known)
        }
    });
    lost.map(|(_, why)| Settled::Lost(why))
}

fn in_zone_only(beginning: &str) -> bool {
    matches!(beginning, "rate_limit." | "quota." | "conn_congestion.")
}

/// `broker.<group>.shared_subscription_strategy`
fn group_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("broker.")?;
    rest.strip_suffix(".shared_subscription_strategy")
}

fn carried(key: String, value: &str, how: How) -> Settled {
    let switch = match value {
        "on" => "true",
        "off" => "false",
        other => other,
    };
    let value = match (how, value) {
        (How::Same | How::Flapping, _) => plain(value),
        (How::Switch, _) => plain(switch),
        (How::Unlimited, "0") => quoted("infinity"),
        (How::Greatest, "0") => "65535".to_owned(),
        (How::Unlimited | How::Greatest, _) => plain(value),
        (How::Percent, _) => plain(value.trim_end_matches('%')),
        (How::Doubled, _) => match value.parse::<f64>() {
            Ok(half) => format!("{:?}", half * 2.0),
            Err(_) => plain(value),
        },
        (How::Priorities, "none") => quoted("disabled"),
        (How::Priorities, _) => quoted(&value.replace(' ', "")),
        (How::Level, "notice") => quoted("info"),
        (How::Level, "critical" | "alert" | "emergency") => quoted("error"),
        (How::Level, _) => plain(value),
        (How::Port, _) if value.contains(':') => plain(value),
        (How::Port, _) => quoted(&format!("0.0.0.0:{value}")),
    };
    if matches!(how, How::Flapping) {
        return flapping(&value);
    }
    Settled::To(vec![(key, value)])
}

/// `30, 1m, 5m`: how often, within, banned for.
fn flapping(value: &str) -> Settled {
    let parts: Vec<&str> = value.trim_matches('"').split(',').map(str::trim).collect();
    let [count, window, ban] = parts.as_slice() else {
        return Settled::Lost("this is not a number and two times");
    };
    let of = |key: &str, value: &str| (format!("flapping_detect.{key}"), plain(value));
    Settled::To(vec![
        of("max_count", count),
        of("window_time", window),
        of("ban_time", ban),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(key: &str, value: &str) -> Settled {
        Settled::To(vec![(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn values_are_carried_over_by_their_meaning() {
        for (key, value, want) in [
            (
                "mqtt.max_packet_size",
                "1MB",
                to("mqtt.max_packet_size", "\"1MB\""),
            ),
            ("max_inflight", "0", to("mqtt.max_inflight", "65535")),
            (
                "max_mqueue_len",
                "0",
                to("mqtt.max_mqueue_len", "\"infinity\""),
            ),
            ("upgrade_qos", "on", to("mqtt.upgrade_qos", "true")),
            (
                "keepalive_backoff",
                "0.8",
                to("mqtt.keepalive_multiplier", "1.6"),
            ),
            (
                "mqueue_priorities",
                "none",
                to("mqtt.mqueue_priorities", "\"disabled\""),
            ),
            ("log.level", "notice", to("log.level", "\"info\"")),
            (
                "os_mon.cpu_high_watermark",
                "80%",
                to("sysmon.cpu_high_watermark", "80"),
            ),
            (
                "dashboard.listener.http",
                "18083",
                to("http.listen", "\"0.0.0.0:18083\""),
            ),
            (
                "broker.g1.shared_subscription_strategy",
                "hash",
                to("broker.shared_subscription_group.g1.strategy", "\"hash\""),
            ),
        ] {
            assert_eq!(settle(key, value), want, "{key}");
        }
    }

    #[test]
    fn what_is_not_carried_over_has_a_reason() {
        for key in [
            "cluster.name",
            "quota.conn_messages_routing",
            "mystery",
            "log.dir",
            "log.file",
        ] {
            assert!(matches!(settle(key, "x"), Settled::Lost(_)), "{key}");
        }
        for key in [
            "node.cookie",
            "node.process_limit",
            "sysmon.long_gc",
            "force_gc_policy",
        ] {
            assert!(matches!(settle(key, "x"), Settled::Needless(_)), "{key}");
        }
        assert!(matches!(
            settle("flapping_detect_policy", "30"),
            Settled::Lost(_)
        ));
    }
}
