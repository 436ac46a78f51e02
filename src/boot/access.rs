//! Access rules as the configuration and the file they name give them, at the start and again later.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::access::acl::Permission;
use crate::access::acl_compiled::CompiledRules;
use crate::access::acl_file::read_rules;
use crate::access::bans::{Ban, read_bans};
use crate::access::cache::CacheRules;
use crate::access::rules::{AccessRules, DEFAULT_RULES, DenyAction};
use crate::base::limits::ACL_FILE_BYTES_MAX;
use crate::boot::{Refusal, preflight};
use crate::config::{Config, NoMatch, OnDeny, Profile};
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
