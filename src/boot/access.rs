//! Access rules as the configuration and the file they name give them, at the start and again later.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::access::acl::Permission;
use crate::access::acl_compiled::CompiledRules;
use crate::access::acl_file::read_rules;
use crate::access::bans::{Ban, read_bans};
use crate::access::cache::CacheRules;
use crate::access::flapping::FlappingRules;
use crate::access::limiter::{ConnectionLimits, Excess, RateLimit};
use crate::access::overload::OverloadRules;
use crate::access::rules::{AccessRules, DEFAULT_RULES, DenyAction};
use crate::base::limits::ACL_FILE_BYTES_MAX;
use crate::boot::{Refusal, preflight};
use crate::config::{Config, Listener, NoMatch, OnDeny, Profile, Quota, RateExceeded};
use crate::gate::command::Command;
use crate::gate::port::Gate;
use crate::mqtt::reason::ReasonCode;

/// The rules that the configuration and its file give; `version` counts reloads.
///
/// # Errors
/// A sentence that names the file, the line and what is wrong there.
pub fn rules(config: &Config, version: u64) -> Result<AccessRules, Refusal> {
    let settings = &config.access;
    let is_hardened = config.node.profile == Profile::Hardened;
    let no_match = match settings.authorization.no_match {
        Some(NoMatch::Allow) => Permission::Allow,
        None if !is_hardened => Permission::Allow,
        Some(NoMatch::Deny) | None => Permission::Deny,
    };
    let has_defaults = settings.file.path.is_none() && settings.file.enable && !is_hardened;
    let file = match &settings.file.path {
        Some(path) if settings.file.enable => Some(read(path, is_hardened)?),
        _ => None,
    };
    Ok(AccessRules {
        version,
        file,
        built_in: None,
        asks: config.access_sources.iter().any(|source| source.enable),
        ask_timeout_ms: millis(settings.authorization.timeout),
        defaults: match has_defaults && no_match == Permission::Allow {
            true => Some(default_rules()?),
            false => None,
        },
        no_match,
        deny_action: match settings.authorization.deny_action {
            OnDeny::Ignore => DenyAction::Ignore,
            OnDeny::Disconnect => DenyAction::Disconnect,
        },
        denied_subscription: match settings.authorization.deny_reason {
            true => ReasonCode::NotAuthorized,
            false => ReasonCode::UnspecifiedError,
        },
        denies_overlap: settings
            .authorization
            .deny_overlapping
            .unwrap_or(is_hardened),
        cache: CacheRules {
            size_max: match settings.cache.enable {
                true => settings.cache.max_size as usize,
                false => 0,
            },
            ttl_ms: millis(settings.cache.ttl),
        },
    })
}

fn default_rules() -> Result<CompiledRules, Refusal> {
    let rules = read_rules(DEFAULT_RULES, false);
    let wrong = |error| Refusal::from(format!("the default access rules: {error}"));
    rules.map(CompiledRules::new).map_err(wrong)
}

/// Reads the rules again while the broker runs.
#[derive(Debug)]
pub struct Reloading {
    config: Config,
    version: AtomicU64,
}

impl Reloading {
    /// The rules of this configuration are in force.
    pub fn new(config: Config) -> Self {
        let version = AtomicU64::new(0);
        Self { config, version }
    }

    /// Reads the file again and gives its rules to all cores. If it cannot be read, the rules stay as
    /// they are.
    pub fn reload(&self, gate: &Gate) {
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let rules = match rules(&self.config, version) {
            Ok(rules) => Arc::new(rules),
            Err(refusal) => return tracing::error!("access rules stay as they are: {refusal}"),
        };
        let count = rules.file.as_ref().map_or(0, CompiledRules::len);
        let told = gate.ask_all(|| Command::SetAccess(Arc::clone(&rules)));
        let cores = usize::from(gate.cores());
        if told < cores {
            tracing::error!(
                told,
                cores,
                "some cores do not keep up and keep the old access rules"
            );
        } else {
            tracing::info!(count, "access rules have been read again");
        }
    }
}

/// The bans of the bootstrap file, if there is one.
///
/// # Errors
/// A sentence that names the file, the line and what is wrong there.
pub fn bans(config: &Config) -> Result<Arc<[Arc<Ban>]>, Refusal> {
    let Some(path) = &config.access.banned.bootstrap_file else {
        return Ok(Vec::new().into());
    };
    let shown = path.display();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_unix_s = now.map_or(0, |now| now.as_secs());
    let text = fs::read_to_string(path).map_err(|error| {
        Refusal::from(format!("the file of bans {shown} cannot be read: {error}"))
    })?;
    let bans =
        read_bans(&text, now_unix_s).map_err(|what| Refusal::from(format!("{shown} {what}")))?;
    Ok(bans.into_iter().map(Arc::new).collect())
}

/// What a listener's settings allow each of its connections.
pub fn limits(config: &Config) -> Arc<[ConnectionLimits]> {
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
pub fn flapping(config: &Config) -> Option<FlappingRules> {
    let settings = &config.access.flapping;
    settings.enable.then(|| FlappingRules {
        window_ms: millis(settings.window_time),
        max_count: settings.max_count,
        ban_s: settings.ban_time.as_secs(),
    })
}

/// When nobody new is let in.
pub fn overload(config: &Config) -> OverloadRules {
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

/// For `--check`: reads the file, if there is one.
pub fn check(config: &Config) -> Option<preflight::Outcome> {
    let path = config.access.file.path.as_ref()?;
    let read = rules(config, 0);
    Some(match read {
        Ok(rules) => {
            let count = rules.file.map_or(0, |rules| rules.len());
            Ok(format!("{} has {count} access rules", path.display()))
        }
        Err(refusal) => Err(refusal.to_string()),
    })
}

fn read(path: &Path, is_hardened: bool) -> Result<CompiledRules, Refusal> {
    let shown = path.display();
    let unreadable = |error: &dyn std::fmt::Display| {
        Refusal::from(format!(
            "the file of access rules {shown} cannot be read: {error}"
        ))
    };
    let bytes = fs::metadata(path)
        .map_err(|error| unreadable(&error))?
        .len();
    if bytes > ACL_FILE_BYTES_MAX {
        return Err(unreadable(&format!(
            "it has more than {ACL_FILE_BYTES_MAX} bytes"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let rules = read_rules(&text, is_hardened)
        .map_err(|error| Refusal::from(format!("{shown} {error}")))?;
    Ok(CompiledRules::new(rules))
}
