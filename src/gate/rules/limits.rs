//! How much connections may send, when clients come and go too often, when nobody new is let in: from
//! the configuration.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::access::flapping::FlappingRules;
use crate::access::limiter::{ConnectionLimits, Excess, RateLimit};
use crate::access::overload::OverloadRules;
use crate::config::{Config, Listener, Quota, RateExceeded};

/// What a listener's settings allow each of its connections.
pub(super) fn of_connections(config: &Config) -> Arc<[ConnectionLimits]> {
    let of = |listener: &Listener| {
        let settings = &listener.settings;
        let rate = |quota: Quota, more: u32| RateLimit {
            amount: quota.amount,
            per_ms: quota.per_ms,
            burst: quota.amount.get().saturating_add(u64::from(more)),
        };
        let messages = settings.messages_rate;
        let bytes = settings
            .bytes_rate
            .map(|quota| rate(quota, settings.bytes_burst));
        let pair = settings.rate_limit.map(|pair| RateLimit {
            amount: pair.rate,
            per_ms: NonZeroU64::MIN.saturating_add(999),
            burst: pair.burst.get(),
        });
        ConnectionLimits {
            messages: messages.map(|quota| rate(quota, settings.messages_burst)),
            bytes: pair.or(bytes),
            excess: match settings.rate_exceeded {
                RateExceeded::Pause => Excess::Pause,
                RateExceeded::Drop => Excess::Drop,
            },
        }
    };
    let limits: Vec<ConnectionLimits> = config.listeners.iter().map(of).collect();
    match limits.iter().all(ConnectionLimits::is_empty) {
        true => Vec::new().into(),
        false => limits.into(),
    }
}

/// When a client comes and goes too often, if that is looked for.
pub(super) fn flapping(config: &Config) -> Option<FlappingRules> {
    let settings = &config.access.flapping;
    settings.enable.then(|| FlappingRules {
        window_ms: millis(settings.window_time),
        max_count: settings.max_count,
        ban_s: settings.ban_time.as_secs(),
    })
}

/// When nobody new is let in.
pub(super) fn overload(config: &Config) -> OverloadRules {
    let settings = &config.access.overload;
    let threshold_us = u64::try_from(settings.turn_threshold.as_micros()).unwrap_or(u64::MAX);
    OverloadRules {
        turn_us_max: settings.enable.then_some(threshold_us),
        cool_down_ms: millis(settings.cool_down),
        accept_delay_ms: millis(settings.accept_delay),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
