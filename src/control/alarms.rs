//! Alarms: what is wrong now, and what was. Whoever finds something wrong activates an alarm by its
//! name, once or again and again, and deactivates it when it is over.

use serde_json::Value;

use crate::control::clock;
use crate::control::state::{ALARM_HISTORY_MAX, Alarm, State, StateError};

/// Raises an alarm; one that is active already stays as it is. Says whether it is new.
///
/// # Errors
/// It cannot be kept.
pub fn activate(
    state: &State,
    name: &str,
    message: &str,
    details: Value,
) -> Result<bool, StateError> {
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

/// Ends an alarm; says whether it was active.
///
/// # Errors
/// The change cannot be kept.
pub fn deactivate(state: &State, name: &str) -> Result<bool, StateError> {
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
    for (name, _) in state.alarm_history.all() {
        state.alarm_history.remove(&name)?;
    }
    Ok(())
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
