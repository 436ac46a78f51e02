//! What comes with a client's authentication as JSON besides its rules.

use serde_json::Value;

/// Most attributes that one client may have.
const ATTRIBUTES_MAX: usize = 256;

/// Attributes: names with texts; others are passed over.
pub(super) fn attributes_of(value: Option<&Value>) -> Vec<(Box<str>, Box<str>)> {
    let table = value.and_then(Value::as_object);
    let pairs = table.into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str()?;
        Some((Box::from(name.as_str()), Box::from(value)))
    });
    pairs.take(ATTRIBUTES_MAX).collect()
}
