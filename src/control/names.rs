//! EMQX's names for figures that have another one here, of both its generations.

use crate::metrics::Counter;

/// A name, and the counters that make it up.
pub const EMQX_ALIASES: &[(&str, &[Counter])] = &[
    (
        "client.authenticate",
        &[
            Counter::AuthenticationSuccess,
            Counter::AuthenticationFailure,
        ],
    ),
    ("client.check_acl", &[Counter::ClientAuthorize]),
    ("session.takeovered", &[Counter::SessionTakenover]),
    (
        "messages.publish",
        &[
            Counter::MessagesQos0Received,
            Counter::MessagesQos1Received,
            Counter::MessagesQos2Received,
            Counter::MessagesPublishedByApi,
        ],
    ),
    (
        "messages.dropped.expired",
        &[Counter::MessagesDroppedDelayedExpired],
    ),
    ("messages.forward", &[]),
];
