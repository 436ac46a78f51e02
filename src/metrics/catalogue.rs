//! Every figure the broker keeps, declared once: its documentation is its help text.
//!
//! Names are EMQX's where the figure is the same. Totals (`messages.received` and the like) are
//! not counted but added up by the reader: they cost nothing and cannot disagree with their parts.

/// Declares an enum whose variants have a dotted name and a help text, the latter from their
/// documentation.
macro_rules! catalogue {
    (
        $(#[$meta:meta])*
        pub enum $kind:ident {
            $( #[doc = $help:literal] $variant:ident = $name:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum $kind { $( #[doc = $help] $variant, )* }

        impl $kind {
            /// All of them, in the order in which they are declared and reported.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// The dotted name.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// What it counts, in one sentence.
            pub fn help(self) -> &'static str {
                match self { $( Self::$variant => $help.trim_ascii(), )* }
            }

            /// Name of the variant, as the source writes it.
            #[cfg(test)]
            pub(super) fn variant(self) -> &'static str {
                match self { $( Self::$variant => stringify!($variant), )* }
            }
        }
    };
}

catalogue! {
    /// What only goes up.
    pub enum Counter {
        /// Bytes received from clients.
        BytesReceived = "bytes.received",
        /// Bytes sent to clients.
        BytesSent = "bytes.sent",

        /// CONNECT packets received.
        PacketsConnectReceived = "packets.connect.received",
        /// CONNACK packets sent.
        PacketsConnackSent = "packets.connack.sent",
        /// CONNACK packets sent with a reason code other than success.
        PacketsConnackError = "packets.connack.error",
        /// CONNACK packets sent because authentication failed.
        PacketsConnackAuthError = "packets.connack.auth_error",
        /// PUBLISH packets received.
        PacketsPublishReceived = "packets.publish.received",
        /// PUBLISH packets sent.
        PacketsPublishSent = "packets.publish.sent",
        /// PUBLISH packets received whose packet identifier was in use.
        PacketsPublishInuse = "packets.publish.inuse",
        /// PUBLISH packets received that could not be handled.
        PacketsPublishError = "packets.publish.error",
        /// PUBLISH packets refused because the client may not publish to the topic.
        PacketsPublishAuthError = "packets.publish.auth_error",
        /// PUBLISH packets refused because they came above the rate of their connection.
        PacketsPublishQuotaExceeded = "packets.publish.quota_exceeded",
        /// PUBLISH packets received over the receive maximum.
        PacketsPublishDropped = "packets.publish.dropped",
        /// PUBACK packets received.
        PacketsPubackReceived = "packets.puback.received",
        /// PUBACK packets sent.
        PacketsPubackSent = "packets.puback.sent",
        /// PUBACK packets received for a packet identifier that is not in flight.
        PacketsPubackMissed = "packets.puback.missed",
        /// PUBREC packets received.
        PacketsPubrecReceived = "packets.pubrec.received",
        /// PUBREC packets sent.
        PacketsPubrecSent = "packets.pubrec.sent",
        /// PUBREC packets received for a packet identifier that is not in flight.
        PacketsPubrecMissed = "packets.pubrec.missed",
        /// PUBREL packets received.
        PacketsPubrelReceived = "packets.pubrel.received",
        /// PUBREL packets sent.
        PacketsPubrelSent = "packets.pubrel.sent",
        /// PUBREL packets received for a packet identifier that is unknown.
        PacketsPubrelMissed = "packets.pubrel.missed",
        /// PUBCOMP packets received.
        PacketsPubcompReceived = "packets.pubcomp.received",
        /// PUBCOMP packets sent.
        PacketsPubcompSent = "packets.pubcomp.sent",
        /// PUBCOMP packets received for a packet identifier that is not in flight.
        PacketsPubcompMissed = "packets.pubcomp.missed",
        /// SUBSCRIBE packets received.
        PacketsSubscribeReceived = "packets.subscribe.received",
        /// SUBSCRIBE packets received that could not be handled.
        PacketsSubscribeError = "packets.subscribe.error",
        /// SUBSCRIBE packets with a filter that the client may not subscribe to.
        PacketsSubscribeAuthError = "packets.subscribe.auth_error",
        /// SUBACK packets sent.
        PacketsSubackSent = "packets.suback.sent",
        /// UNSUBSCRIBE packets received.
        PacketsUnsubscribeReceived = "packets.unsubscribe.received",
        /// UNSUBSCRIBE packets received that could not be handled.
        PacketsUnsubscribeError = "packets.unsubscribe.error",
        /// UNSUBACK packets sent.
        PacketsUnsubackSent = "packets.unsuback.sent",
        /// PINGREQ packets received.
        PacketsPingreqReceived = "packets.pingreq.received",
        /// PINGRESP packets sent.
        PacketsPingrespSent = "packets.pingresp.sent",
        /// DISCONNECT packets received.
        PacketsDisconnectReceived = "packets.disconnect.received",
        /// DISCONNECT packets sent.
        PacketsDisconnectSent = "packets.disconnect.sent",
        /// AUTH packets received.
        PacketsAuthReceived = "packets.auth.received",
        /// AUTH packets sent.
        PacketsAuthSent = "packets.auth.sent",

        /// QoS 0 messages received from clients.
        MessagesQos0Received = "messages.qos0.received",
        /// QoS 1 messages received from clients.
        MessagesQos1Received = "messages.qos1.received",
        /// QoS 2 messages received from clients.
        MessagesQos2Received = "messages.qos2.received",
        /// QoS 0 messages sent to clients.
        MessagesQos0Sent = "messages.qos0.sent",
        /// QoS 1 messages sent to clients.
        MessagesQos1Sent = "messages.qos1.sent",
        /// QoS 2 messages sent to clients.
        MessagesQos2Sent = "messages.qos2.sent",
        /// Messages published through the HTTP API.
        MessagesPublishedByApi = "api.messages.published",
        /// Messages that matched no subscription.
        MessagesDroppedNoSubscribers = "messages.dropped.no_subscribers",
        /// QoS 2 messages forgotten because their PUBREL did not come in time.
        MessagesDroppedAwaitPubrelTimeout = "messages.dropped.await_pubrel_timeout",
        /// Messages refused because the client exceeded its receive maximum.
        MessagesDroppedReceiveMaximum = "messages.dropped.receive_maximum",
        /// Messages dropped because they came above the rate of their connection.
        MessagesDroppedQuotaExceeded = "messages.dropped.quota_exceeded",
        /// Messages to be published later.
        MessagesDelayed = "messages.delayed",
        /// Delayed messages dropped: no valid delay or topic.
        MessagesDroppedDelayedInvalid = "messages.dropped.delayed_invalid",
        /// Delayed messages refused: as many as may wait already did.
        MessagesDroppedDelayedFull = "messages.dropped.delayed_full",
        /// Delayed messages refused: the core's budget for queued messages was used up.
        MessagesDroppedDelayedMemory = "messages.dropped.delayed_memory",
        /// Delayed messages dropped: they expired before their time came.
        MessagesDroppedDelayedExpired = "messages.dropped.delayed_expired",
        /// Topics and filters left as they were because topic rewrite made none that is valid of them.
        RewriteInvalid = "rewrite.invalid",
        /// Exclusive subscriptions refused because another client has the topic.
        ExclusiveRefused = "exclusive.refused",
        /// Subscriptions made for clients when they connected.
        AutoSubscribed = "auto_subscribe.made",
        /// Subscriptions not made for clients: refused, or a name to put into them was absent or unfit.
        AutoSubscribeFailed = "auto_subscribe.failed",
        /// Deliveries sent again because the client did not acknowledge them in time.
        MessagesRetried = "messages.retried",
        /// Messages of 3.x publishers taken although more than the receive maximum were not acknowledged.
        MessagesOverReceiveMaximum = "messages.over_receive_maximum",
        /// Messages stored as retained ones.
        MessagesRetained = "messages.retained",
        /// Messages handed to a session for delivery, a copy each.
        MessagesDelivered = "messages.delivered",
        /// Deliveries of QoS 1 and 2 that the client has acknowledged.
        MessagesAcked = "messages.acked",

        /// Deliveries dropped: larger than the client's maximum packet size.
        DeliveryDroppedTooLarge = "delivery.dropped.too_large",
        /// Deliveries dropped: the session's queue was full.
        DeliveryDroppedQueueFull = "delivery.dropped.queue_full",
        /// Deliveries dropped: QoS 0 while the client was away or its window full.
        DeliveryDroppedQos0Msg = "delivery.dropped.qos0_msg",
        /// Deliveries dropped: the message expired while it was queued.
        DeliveryDroppedExpired = "delivery.dropped.expired",
        /// Deliveries left out: the subscriber is the publisher and asked for none of its own.
        DeliveryDroppedNoLocal = "delivery.dropped.no_local",
        /// Deliveries dropped: the connection does not read and its out-queue was full.
        DeliveryDroppedOutQueueFull = "delivery.dropped.out_queue_full",
        /// Deliveries dropped: the core's budget for queued messages was used up.
        DeliveryDroppedMemory = "delivery.dropped.memory",
        /// Deliveries dropped: their session ended while they were queued.
        DeliveryDroppedSessionEnded = "delivery.dropped.session_ended",

        /// Retained messages refused: as many as allowed.
        RetainedRefusedFull = "retained.refused.full",
        /// Retained messages refused: the payload is over its limit.
        RetainedRefusedTooLarge = "retained.refused.too_large",
        /// Retained messages refused: too many levels in the topic.
        RetainedRefusedTooManyLevels = "retained.refused.too_many_levels",
        /// Retained messages refused: a later one of the topic had come before.
        RetainedRefusedOlder = "retained.refused.older",
        /// Retained messages that expired.
        RetainedExpired = "retained.expired",
        /// Replays of retained messages that were begun.
        RetainedReplays = "retained.replays",

        /// CONNECT packets taken up.
        ClientConnect = "client.connect",
        /// CONNACK packets answered, whatever their reason code.
        ClientConnack = "client.connack",
        /// Clients that became connected.
        ClientConnected = "client.connected",
        /// Clients whose connection ended after they had been connected.
        ClientDisconnected = "client.disconnected",
        /// Clients let in without a name.
        ClientAuthAnonymous = "client.auth.anonymous",
        /// Clients whose authentication succeeded, those let in without it included.
        AuthenticationSuccess = "authentication.success",
        /// Clients let in without authentication.
        AuthenticationSuccessAnonymous = "authentication.success.anonymous",
        /// Clients whose authentication failed.
        AuthenticationFailure = "authentication.failure",
        /// Clients refused because too many waited for their authentication.
        AuthenticationRefusedBusy = "authentication.refused.busy",
        /// Clients refused because nobody could authenticate them in time.
        AuthenticationRefusedTimeout = "authentication.refused.timeout",
        /// Answers about clients that had been given up.
        AuthenticationLate = "authentication.late",
        /// SUBSCRIBE packets taken up.
        ClientSubscribe = "client.subscribe",
        /// UNSUBSCRIBE packets taken up.
        ClientUnsubscribe = "client.unsubscribe",

        /// Checks of what a client may do: one a PUBLISH, will, or filter of a SUBSCRIBE.
        ClientAuthorize = "client.authorize",
        /// Checks that allowed it.
        AuthorizationAllow = "authorization.allow",
        /// Checks that denied it.
        AuthorizationDeny = "authorization.deny",
        /// Answers of other sources that were still fresh.
        AuthorizationCacheHit = "authorization.cache_hit",
        /// Questions put to other sources.
        AuthorizationCacheMiss = "authorization.cache_miss",
        /// Questions that other sources could not be asked.
        AuthorizationUnavailable = "authorization.unavailable",
        /// Questions that other sources did not answer in time, which denies.
        AuthorizationTimeout = "authorization.timeout",

        /// CONNECTs refused because of a ban.
        ClientBanned = "client.banned",
        /// Clients banned because they came and went too often.
        ClientFlapping = "client.flapping",
        /// Bans that found no room.
        BannedRefused = "banned.refused",
        /// CONNECTs refused because the core had enough to do.
        OverloadRefused = "overload_protection.new_conn",
        /// Times the core began to let nobody in because it had enough to do.
        OverloadBegun = "overload_protection.begun",
        /// Pauses between accepts because the core had enough to do.
        OverloadDelay = "overload_protection.delay",

        /// Sessions created.
        SessionCreated = "session.created",
        /// Sessions that a client came back to.
        SessionResumed = "session.resumed",
        /// Sessions taken over by a second connection of the same client id.
        SessionTakenover = "session.takenover",
        /// Sessions discarded by a clean start.
        SessionDiscarded = "session.discarded",
        /// Sessions ended.
        SessionTerminated = "session.terminated",
        /// Last wills published.
        WillPublished = "will.published",
        /// Last wills not published because their client may not publish to the topic.
        WillDenied = "will.denied",

        /// Connections ended: no packet within the keep-alive time.
        ShutdownKeepaliveTimeout = "shutdown_count.keepalive_timeout",
        /// Connections ended: closed by the client without DISCONNECT.
        ShutdownClosed = "shutdown_count.closed",
        /// Connections ended: the client sent DISCONNECT.
        ShutdownNormal = "shutdown_count.normal",
        /// Connections ended: the socket was closed already when the broker wanted to send.
        ShutdownEinval = "shutdown_count.einval",
        /// Connections ended: malformed packet.
        ShutdownFunctionClause = "shutdown_count.function_clause",
        /// Connections ended: packet larger than allowed.
        ShutdownFrameTooLarge = "shutdown_count.frame_too_large",
        /// Connections ended: packet that the protocol forbids at this point.
        ShutdownProtocolError = "shutdown_count.protocol_error",
        /// Connections ended: what was sent was not acknowledged in time.
        ShutdownEtimedout = "shutdown_count.etimedout",
        /// Connections ended: a second CONNECT.
        ShutdownProtoUnexpectedC = "shutdown_count.proto_unexpected_c",
        /// Connections ended: no CONNECT within the time for it.
        ShutdownIdleTimeout = "shutdown_count.idle_timeout",
        /// Connections ended: another connection of the client id began a clean session.
        ShutdownDiscarded = "shutdown_count.discarded",
        /// Connections ended: another connection of the client id took the session over.
        ShutdownTakenover = "shutdown_count.takenover",
        /// Connections ended: not allowed to connect, publish or subscribe.
        ShutdownNotAuthorized = "shutdown_count.not_authorized",
        /// Connections ended: what the client was authenticated by has expired.
        ShutdownExpired = "shutdown_count.expired",
        /// Connections ended: more unacknowledged messages than the receive maximum.
        ShutdownReceiveMaximum = "shutdown_count.receive_maximum",
        /// Connections ended: the broker had no room for the client.
        ShutdownServerBusy = "shutdown_count.server_busy",
        /// Connections ended: by an operator or a ban.
        ShutdownKicked = "shutdown_count.kicked",
        /// Connections ended: the broker stopped.
        ShutdownShutdown = "shutdown_count.shutdown",

        /// Connections accepted.
        AcceptAccepted = "accept.accepted",
        /// Connections refused: too many sockets had not sent their CONNECT.
        AcceptRefusedHandshakes = "accept.refused.handshakes",
        /// Connections refused: the listener's maximum was reached.
        AcceptRefusedMaxConnections = "accept.refused.max_connections",
        /// Connections refused: an access rule of the listener denies the address.
        AcceptRefusedAccessRules = "accept.refused.access_rules",
        /// Connections refused: not one of those that may send a PROXY header.
        AcceptRefusedProxy = "accept.refused.proxy_untrusted",
        /// Connections ended: what came was no PROXY header.
        ProxyMalformed = "proxy_protocol.malformed",
        /// Connections ended: their PROXY header did not come in time.
        ProxyTimeout = "proxy_protocol.timeout",
        /// Accepts that failed, out of descriptors for example.
        AcceptErrors = "accept.errors",
        /// Sockets handed to their home core.
        HandoverSent = "handover.sent",
        /// Sockets taken from the core that accepted them.
        HandoverReceived = "handover.received",
        /// Sockets closed because their home core could not take them.
        HandoverRefused = "handover.refused",

        /// TLS handshakes done in full.
        TlsHandshakesFull = "tls.handshakes.full",
        /// TLS handshakes that resumed an earlier session.
        TlsHandshakesResumed = "tls.handshakes.resumed",
        /// Connections closed because the handshake threads' queue was full.
        TlsHandshakesRefused = "tls.handshakes.refused",
        /// TLS handshakes failed: a certificate was expired or not yet valid.
        TlsFailedCertificateExpired = "tls.handshakes.failed.certificate_expired",
        /// TLS handshakes failed: a certificate of an unknown CA.
        TlsFailedUnknownCa = "tls.handshakes.failed.unknown_ca",
        /// TLS handshakes failed: a certificate was revoked.
        TlsFailedCertificateRevoked = "tls.handshakes.failed.certificate_revoked",
        /// TLS handshakes failed: the client sent no certificate.
        TlsFailedCertificateRequired = "tls.handshakes.failed.certificate_required",
        /// TLS handshakes failed: a certificate that cannot be used.
        TlsFailedBadCertificate = "tls.handshakes.failed.bad_certificate",
        /// TLS handshakes failed: no cipher suite, group or signature in common.
        TlsFailedNoSuitableCipher = "tls.handshakes.failed.no_suitable_cipher",
        /// TLS handshakes failed: no version in common.
        TlsFailedProtocolVersion = "tls.handshakes.failed.protocol_version",
        /// TLS handshakes failed: the sides did not agree.
        TlsFailedHandshakeFailure = "tls.handshakes.failed.handshake_failure",
        /// TLS handshakes failed: what came was not TLS.
        TlsFailedNotTls = "tls.handshakes.failed.not_tls",
        /// TLS handshakes failed: they took too long.
        TlsFailedTimeout = "tls.handshakes.failed.timeout",
        /// TLS handshakes failed: the client went away.
        TlsFailedClosed = "tls.handshakes.failed.closed",
        /// TLS handshakes failed: an error in the broker or its system.
        TlsFailedInternal = "tls.handshakes.failed.internal_error",
        /// Times that the certificates of a listener were read anew.
        TlsReloads = "tls.reloads",
        /// Times that they could not be, and the old ones stayed.
        TlsReloadsFailed = "tls.reloads.failed",
        /// OCSP responses that were fetched and are stapled.
        TlsOcspFetched = "tls.ocsp.fetched",
        /// Times that none that holds could be had.
        TlsOcspFailed = "tls.ocsp.failed",

        /// Calls of io_uring_enter on connection rings.
        RingEnters = "ring.enters",
        /// Completions taken from connection rings.
        RingCompletions = "ring.completions",
        /// Reads that ended for want of a provided buffer.
        RingEnobufs = "ring.enobufs",
        /// Sends submitted.
        RingSends = "ring.sends",
        /// Sends that the kernel took only in part.
        RingShortSends = "ring.short_sends",
        /// Closes with a last packet that waited for the client's end.
        CloseLingered = "close.lingered",
        /// Those of them that were cut before it came.
        CloseLingerCut = "close.linger_cut",
        /// Turns of the cores' loops.
        Turns = "turn.count",
        /// Times a core went to sleep for want of work.
        Parks = "turn.parks",
        /// Pauses of reading: many of the client's SUBSCRIBEs wait for the index thread.
        ReadPausedIndex = "read.paused.index",
        /// Times reading from a connection paused because it sent above its rate.
        ReadPausedQuota = "read.paused.quota",
        /// Pauses of reading: the outbox to another core was over its limit.
        ReadPausedOutbox = "read.paused.outbox",

        /// Records sent to other cores.
        MeshRecords = "mesh.records",
        /// Bytes sent to other cores.
        MeshBytes = "mesh.bytes",
        /// Wakes of other cores.
        MeshWakes = "mesh.wakes",
        /// Flushes that found a ring to another core full.
        MeshFull = "mesh.full",

        /// Deltas applied to the shared index.
        IndexDeltas = "index.deltas",
        /// Batches, that is epochs, of the shared index.
        IndexBatches = "index.batches",

        /// Commands of the control plane handled by cores.
        GateCommands = "gate.commands",
        /// Events for the control plane.
        GateEvents = "gate.events",
        /// Events for the control plane dropped because it had fallen behind.
        GateEventsDropped = "gate.events.dropped",
        /// Comings, goings and messages that were told to whoever watches them.
        ObservedTold = "observed.told",
        /// Those dropped because the control plane had fallen behind.
        ObservedDropped = "observed.dropped",
        /// Events that were told to whoever traces.
        TraceTold = "trace.told",
        /// Those dropped because the control plane had fallen behind; their traces say so.
        TraceDropped = "trace.dropped",
        /// Messages whose way to a slow subscriber could not be measured for want of room.
        SlowSubsUnmeasured = "slow_subs.unmeasured",
    }
}

catalogue! {
    /// What goes up and down. The reader adds up the writers' values, or takes the greatest: see
    /// [`Gauge::is_greatest`].
    pub enum Gauge {
        /// Connections past their CONNECT, and sessions that wait for their client.
        Connections = "connections.count",
        /// Connections past their CONNECT.
        LiveConnections = "live_connections.count",
        /// Sockets whose CONNECT is awaited or in work.
        Handshakes = "handshakes.count",
        /// TLS handshakes in work.
        TlsHandshakes = "tls.handshakes.count",
        /// Sessions.
        Sessions = "sessions.count",
        /// Subscriptions.
        Subscriptions = "subscriptions.count",
        /// Shared subscriptions.
        SubscriptionsShared = "subscriptions.shared.count",
        /// Filters in the shared index.
        Topics = "topics.count",
        /// Delayed messages that wait.
        Delayed = "delayed.count",
        /// Retained messages.
        Retained = "retained.count",
        /// Bytes of the store of retained messages.
        RetainedBytes = "retained.bytes",
        /// Bytes of messages in queues of sessions and connections.
        QueuedBytes = "memory.queued_bytes",
        /// Bytes of memory for incomplete packets.
        PartialBytes = "memory.partial_bytes",
        /// Bytes in outboxes to other cores.
        OutboxBytes = "mesh.outbox_bytes",
        /// Allocations of the cores' threads so far, in a build with the feature `count-allocations`.
        Allocations = "memory.allocations",
        /// Timers armed.
        Timers = "timers.count",
        /// Greatest time between a timer's due time and its handling of late, microseconds.
        TurnLagUs = "turn.lag_us",
        /// Number of the latest epoch of the shared index.
        IndexEpoch = "index.epoch",
        /// Oldest epoch that a core may still read.
        IndexOldestEpoch = "index.oldest_epoch",
        /// Bytes of the shared index that wait for the oldest epoch to pass.
        IndexRetiredBytes = "index.retired_bytes",
        /// Bytes of the shared index.
        IndexBytes = "index.bytes",
    }
}

impl Gauge {
    /// Whether the whole is the greatest of the writers' values and not their sum.
    pub fn is_greatest(self) -> bool {
        matches!(
            self,
            Self::TurnLagUs | Self::IndexEpoch | Self::IndexOldestEpoch
        )
    }
}

/// A figure that is the sum of counters.
pub struct Total {
    /// The dotted name.
    pub name: &'static str,
    /// What it counts, in one sentence.
    pub help: &'static str,
    /// The counters.
    pub of: &'static [Counter],
}

/// All sums.
pub const TOTALS: &[Total] = {
    use Counter::*;
    &[
        Total {
            name: "packets.received",
            help: "MQTT packets received.",
            of: &[
                PacketsConnectReceived,
                PacketsPublishReceived,
                PacketsPubackReceived,
                PacketsPubrecReceived,
                PacketsPubrelReceived,
                PacketsPubcompReceived,
                PacketsSubscribeReceived,
                PacketsUnsubscribeReceived,
                PacketsPingreqReceived,
                PacketsDisconnectReceived,
                PacketsAuthReceived,
            ],
        },
        Total {
            name: "packets.sent",
            help: "MQTT packets sent.",
            of: &[
                PacketsConnackSent,
                PacketsPublishSent,
                PacketsPubackSent,
                PacketsPubrecSent,
                PacketsPubrelSent,
                PacketsPubcompSent,
                PacketsSubackSent,
                PacketsUnsubackSent,
                PacketsPingrespSent,
                PacketsDisconnectSent,
                PacketsAuthSent,
            ],
        },
        Total {
            name: "messages.received",
            help: "Messages received from clients.",
            of: &[
                MessagesQos0Received,
                MessagesQos1Received,
                MessagesQos2Received,
            ],
        },
        Total {
            name: "messages.sent",
            help: "Messages sent to clients.",
            of: &[MessagesQos0Sent, MessagesQos1Sent, MessagesQos2Sent],
        },
        Total {
            name: "messages.dropped",
            help: "Messages dropped before they were handed to any session.",
            of: &[
                MessagesDroppedNoSubscribers,
                MessagesDroppedAwaitPubrelTimeout,
                MessagesDroppedReceiveMaximum,
                MessagesDroppedQuotaExceeded,
                MessagesDroppedDelayedInvalid,
                MessagesDroppedDelayedFull,
                MessagesDroppedDelayedMemory,
                MessagesDroppedDelayedExpired,
            ],
        },
        Total {
            name: "delivery.dropped",
            help: "Deliveries dropped, whatever the reason.",
            of: &[
                DeliveryDroppedTooLarge,
                DeliveryDroppedQueueFull,
                DeliveryDroppedQos0Msg,
                DeliveryDroppedExpired,
                DeliveryDroppedNoLocal,
                DeliveryDroppedOutQueueFull,
                DeliveryDroppedMemory,
                DeliveryDroppedSessionEnded,
            ],
        },
        Total {
            name: "accept.refused",
            help: "Connections refused, whatever the reason.",
            of: &[
                AcceptRefusedHandshakes,
                AcceptRefusedMaxConnections,
                AcceptRefusedAccessRules,
                AcceptRefusedProxy,
            ],
        },
        Total {
            name: "tls.handshakes.failed",
            help: "TLS handshakes failed, whatever the reason.",
            of: &[
                TlsFailedCertificateExpired,
                TlsFailedUnknownCa,
                TlsFailedCertificateRevoked,
                TlsFailedCertificateRequired,
                TlsFailedBadCertificate,
                TlsFailedNoSuitableCipher,
                TlsFailedProtocolVersion,
                TlsFailedHandshakeFailure,
                TlsFailedNotTls,
                TlsFailedTimeout,
                TlsFailedClosed,
                TlsFailedInternal,
            ],
        },
    ]
};
