//! Settings of what is told about the running broker: figures and `$SYS` topics.

use std::time::Duration;

use super::kind::{Flag, integer, span, unless};
use super::sections_diagnose::{SlowSubs, Trace};
use super::sections_webhook::{Webhook, WebhookRule, rules};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::{Problem, Values};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const HOUR: Duration = Duration::from_secs(3600);

section! {
    /// Figures for Prometheus, at `/metrics` of the HTTP API.
    pub struct Prometheus at "prometheus" {
        /// Whether whoever asks for figures must log in or have an API key. If not, `/metrics`,
        /// `/api/v5/prometheus/stats` and `/api/v4/emqx_prometheus` are open to all who reach the API.
        enable_basic_auth: bool = "false", Flag, Restart;

        /// Whether `/metrics` gives the figures under EMQX's names as well, for dashboards made for it.
        /// (The other two paths always do.)
        emqx_names: bool = "false", Flag, Restart;
    }
}

section! {
    /// Topics below `$SYS`, on which the broker tells about itself. Nothing is published there while
    /// nobody has subscribed to any of it, but for the retained ones.
    pub struct SysTopics at "sys_topics" {
        /// How often version, figures and the list of brokers are published.
        sys_msg_interval: Option<Duration> = "1m", unless(&["disabled"], span(SECOND, HOUR)), Restart;

        /// How often uptime and the time are published.
        sys_heartbeat_interval: Option<Duration> = "30s",
            unless(&["disabled"], span(SECOND, HOUR)), Restart;

        /// Whether gauges are published at `stats/connections/count` and the like.
        slash_names: bool = "true", Flag, Restart;

        /// Whether gauges are published under EMQX 4's names, `stats/connections.count` and the like.
        dotted_names: bool = "false", Flag, Restart;

        /// Whether mosquitto's topics, `$SYS/broker/...`, are published as well.
        mosquitto: bool = "false", Flag, Restart;
    }
}

section! {
    /// Which events of clients are published at `$SYS/brokers/<node>/clients/<clientid>/...`, to those
    /// who have subscribed to them.
    pub struct SysEventMessages at "sys_topics.sys_event_messages" {
        /// `connected`.
        client_connected: bool = "true", Flag, Restart;

        /// `disconnected`.
        client_disconnected: bool = "true", Flag, Restart;

        /// `subscribed`.
        client_subscribed: bool = "false", Flag, Restart;

        /// `unsubscribed`.
        client_unsubscribed: bool = "false", Flag, Restart;
    }
}

section! {
    /// What is looked at for alarms. A condition must be there at two checks in a row.
    pub struct Sysmon at "sysmon" {
        /// How often.
        check_interval: Option<Duration> = "30s", unless(&["disabled"], span(SECOND, HOUR)), Restart;

        /// Processor time in use, in percent, from which on there is the alarm `high_cpu_usage`.
        cpu_high_watermark: u8 = "80", integer(1, 100), Restart;

        /// Processor time in use, in percent, below which that alarm ends.
        cpu_low_watermark: u8 = "60", integer(0, 100), Restart;

        /// Memory of the machine in use, in percent, from which on there is the alarm
        /// `high_system_memory_usage`.
        sysmem_high_watermark: u8 = "70", integer(1, 100), Restart;

        /// How long a core may take to answer before there is the alarm `core_stall/<core>`.
        core_stall_threshold: Duration = "1s", span(MILLISECOND, HOUR), Restart;

        /// How long before its end a certificate makes the alarm `certificate_expiry/<file>`.
        cert_expiry_warning: Duration = "30d", span(SECOND, YEAR), Restart;
    }
}

/// What is told about the running broker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observe {
    /// Figures for Prometheus.
    pub prometheus: Prometheus,
    /// Topics below `$SYS`.
    pub sys_topics: SysTopics,
    /// Events of clients there.
    pub sys_events: SysEventMessages,
    /// What is looked at for alarms.
    pub sysmon: Sysmon,
    /// Traces.
    pub trace: Trace,
    /// Slow subscriptions.
    pub slow_subs: SlowSubs,
    /// The webhook.
    pub webhook: Webhook,
    /// What it is told.
    pub webhook_rules: Vec<WebhookRule>,
}

impl Observe {
    pub(crate) fn read(values: &Values) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            prometheus: Prometheus::read(values, Prometheus::SECTION.prefix),
            sys_topics: SysTopics::read(values, SysTopics::SECTION.prefix),
            sys_events: SysEventMessages::read(values, SysEventMessages::SECTION.prefix),
            sysmon: Sysmon::read(values, Sysmon::SECTION.prefix),
            trace: Trace::read(values, Trace::SECTION.prefix),
            slow_subs: SlowSubs::read(values, SlowSubs::SECTION.prefix),
            webhook: Webhook::read(values, Webhook::SECTION.prefix),
            webhook_rules: rules(values)?,
        })
    }
}
