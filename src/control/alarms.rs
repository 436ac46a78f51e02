//! Alarms: what is wrong now, and what was. Whoever finds something wrong activates an alarm by its
//! name, once or again and again, and deactivates it when it is over.

use serde_json::{Value, json};

use crate::control::clock;
use crate::control::context::Context;
use crate::control::state::{ALARM_HISTORY_MAX, Alarm, State, StateError};

/// Raises an alarm; one that is active already stays as it is. Says whether it is new. A new one is
/// published at `$SYS/brokers/<node>/alarms/activate`.
///
/// # Errors
/// It cannot be kept.
pub fn raise(
    context: &Context,
    name: &str,
    message: &str,
    details: Value,
) -> Result<bool, StateError> {
    let is_new = activate(&context.state, name, message, details)?;
    if let Some(alarm) = context.state.alarms.get(name).filter(|_| is_new) {
        announce(context, &alarm);
    }
    Ok(is_new)
}

/// Ends an alarm; says whether it was active. Its end is published at
/// `$SYS/brokers/<node>/alarms/deactivate`.
///
/// # Errors
/// The change cannot be kept.
pub fn end(context: &Context, name: &str) -> Result<bool, StateError> {
    let Some(mut alarm) = context.state.alarms.get(name) else {
        return Ok(false);
    };
    let was_active = deactivate(&context.state, name)?;
    if was_active {
        alarm.deactivated_ms = Some(clock::unix_ms());
        announce(context, &alarm);
    }
    Ok(was_active)
}

/// EMQX's body, with moments in microseconds.
fn announce(context: &Context, alarm: &Alarm) {
    let us = |ms: u64| Value::from(ms.saturating_mul(1000));
    let over = alarm.deactivated_ms;
    let body = json!({
        "name": alarm.name,
        "message": alarm.message,
        "details": alarm.details,
        "activate_at": us(alarm.activated_ms),
        "deactivate_at": over.map_or_else(|| "infinity".into(), us),
        "activated": over.is_none(),
    });
    let event = if over.is_none() {
        "activate"
    } else {
        "deactivate"
    };
    let topic = format!("$SYS/brokers/{}/alarms/{event}", context.node());
    context.announcer.say(topic, body.to_string());
}

fn activate(state: &State, name: &str, message: &str, details: Value) -> Result<bool, StateError> {
    if state.alarms.get(name).is_some() {
        return Ok(false);
    }
    let alarm = Alarm {
        name: name.to_owned(),
        message: message.to_owned(),
        details,
        activated_ms: clock::unix_ms(),
        deactivated_ms: None,
    };
    state.alarms.put(name, alarm)?;
    tracing::warn!("alarm `{name}`: {message}");
    Ok(true)
}

fn deactivate(state: &State, name: &str) -> Result<bool, StateError> {
    let Some(mut alarm) = state.alarms.remove(name)? else {
        return Ok(false);
    };
    alarm.deactivated_ms = Some(clock::unix_ms());
    let oldest = state.alarm_history.read(|rows| {
        let full = rows.len() >= ALARM_HISTORY_MAX;
        rows.keys().next().filter(|_| full).cloned()
    });
    if let Some(oldest) = oldest {
        state.alarm_history.remove(&oldest)?;
    }
    let number = alarm.deactivated_ms.unwrap_or_default();
    state
        .alarm_history
        .put(&format!("{number:016}/{name}"), alarm)?;
    tracing::info!("alarm `{name}` is over");
    Ok(true)
}

/// Forgets the alarms that are over.
///
/// # Errors
/// The change cannot be kept.
pub fn forget(state: &State) -> Result<(), StateError> {
    state.alarm_history.clear().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_active_once_and_then_history() {
        let dir = std::env::temp_dir().join(format!("millrace-alarms-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let state = State::open(&dir).unwrap();
        assert!(activate(&state, "hot", "it is hot", Value::Null).unwrap());
        assert!(!activate(&state, "hot", "it is hot", Value::Null).unwrap());
        assert!(deactivate(&state, "hot").unwrap() && !deactivate(&state, "hot").unwrap());
        assert!(state.alarms.is_empty());
        let over = state.alarm_history.all();
        assert_eq!((over.len(), over[0].1.message.as_str()), (1, "it is hot"));
        assert!(over[0].1.deactivated_ms.is_some());
        forget(&state).unwrap();
        assert!(state.alarm_history.is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
