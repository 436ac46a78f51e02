//! One message on its way to many clients of this core: what is made at most once for all of them.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::mqtt::encode_publish::{OutgoingPublish, encode_publish_head};
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::qos::QoS;
use crate::mqtt::version::Version;
use crate::session::queue::ShareTag;
use crate::shard::aliases::WireAlias;
use crate::shard::memory::Budget;
use crate::shard::outgoing::Outgoing;

/// What a subscription, or several that overlap, grant one session.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Highest QoS.
    pub qos: QoS,
    /// The RETAIN flag goes out as published.
    pub retain_as_published: bool,
    /// Subscription identifiers of all that matched.
    pub identifiers: SmallVec<[u32; 1]>,
    /// The shared subscription, if it is one.
    pub share: ShareTag,
}

/// Subscription identifiers of a single subscription.
#[inline]
pub fn identifiers(of_one: Option<u32>) -> SmallVec<[u32; 1]> {
    of_one.map_or_else(SmallVec::new, |identifier| SmallVec::from_buf([identifier]))
}

/// A message and what was made of it so far.
pub struct Fanout<'a> {
    /// The message.
    pub publication: Publication<'a>,
    /// It is a stored message on its way to a new subscription: RETAIN goes out as 1.
    pub replay: bool,
    /// Its record, if that is a block that cores share.
    block: Option<&'a Arc<[u8]>>,
    /// The owned copy, or share of the block, made when the first session has to keep the message.
    message: Option<Message>,
    /// Its payload is spliced into sends.
    spliced: bool,
}

/// How one client gets it.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    /// The client's protocol version.
    pub version: Version,
    /// QoS of this delivery.
    pub qos: QoS,
    /// Was sent before.
    pub dup: bool,
    /// RETAIN flag.
    pub retain: bool,
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// Subscription identifiers.
    pub identifiers: &'a [u32],
    /// Bytes at the front of the topic that the client is not shown.
    pub hidden: u16,
    /// The present time, microseconds of UNIX time: what is left of the expiry is told.
    pub now_us: u64,
    /// The alias that stands for the topic or comes with it; see [`Clients::aliased`].
    ///
    /// [`Clients::aliased`]: crate::shard::clients::Clients::aliased
    pub alias: Option<WireAlias>,
}

impl<'a> Fanout<'a> {
    /// A message that nobody has yet.
    pub fn new(publication: Publication<'a>) -> Self {
        Self {
            publication,
            replay: false,
            block: None,
            message: None,
            spliced: false,
        }
    }

    /// A message of which other cores may hold the block as well.
    pub fn of_block(publication: Publication<'a>, block: Option<&'a Arc<[u8]>>) -> Self {
        Self {
            block,
            ..Self::new(publication)
        }
    }

    /// A message that is owned already.
    pub fn owned(message: &'a Message) -> Self {
        Self {
            message: Some(message.clone()),
            ..Self::new(message.view())
        }
    }

    /// A stored message for a new subscription.
    pub fn replay(publication: Publication<'a>) -> Self {
        Self {
            replay: true,
            ..Self::new(publication)
        }
    }

    /// A reference to the owned copy, which is charged to the budget when it is made.
    pub fn message(&mut self, budget: &mut Budget) -> Message {
        let (publication, block) = (&self.publication, self.block);
        self.message
            .get_or_insert_with(|| {
                let message = match block {
                    Some(block) => Message::from_block(Arc::clone(block)),
                    None => Message::from_publication(publication),
                };
                budget.charge(&message);
                message
            })
            .clone()
    }

    /// Appends the PUBLISH for one client.
    pub fn write(&mut self, out: &mut Outgoing, wire: Wire<'_>, budget: &mut Budget) {
        if self.publication.payload.len() < SHARED_PAYLOAD_BYTES_MIN {
            write_publish(out, &self.publication, wire, None);
        } else {
            let message = self.message(budget);
            write_publish(out, &self.publication, wire, Some(&message));
            self.spliced = true;
            budget.release(message);
        }
    }

    /// Lets the fan-out's own reference go.
    pub fn finish(self, budget: &mut Budget) {
        match self.message {
            Some(message) if self.spliced => budget.keep_spliced(message),
            Some(message) => budget.release(message),
            None => {}
        }
    }
}

/// Appends a PUBLISH; a large payload is spliced in from `shared` instead of copied.
pub fn write_publish(
    out: &mut Outgoing,
    publication: &Publication<'_>,
    wire: Wire<'_>,
    shared: Option<&Message>,
) {
    encode_publish_head(&mut out.bytes, wire.version, &outgoing(publication, wire));
    match shared {
        Some(message) if publication.payload.len() >= SHARED_PAYLOAD_BYTES_MIN => {
            out.push_shared(message.clone(), message.payload_range());
        }
        _ => out.bytes.extend_from_slice(publication.payload),
    }
}

/// A message as the encoder takes it.
pub fn outgoing<'a>(publication: &Publication<'a>, wire: Wire<'a>) -> OutgoingPublish<'a> {
    OutgoingPublish {
        topic: match wire.alias {
            Some(alias) if !alias.binds => "",
            _ => publication
                .topic
                .get(usize::from(wire.hidden)..)
                .unwrap_or(publication.topic),
        },
        payload_len: publication.payload.len(),
        qos: wire.qos,
        dup: wire.dup,
        retain: wire.retain,
        packet_id: wire.packet_id,
        topic_alias: wire.alias.map(|alias| alias.id.get()),
        message_expiry_interval: publication
            .expires_us
            .map(|at| remaining_s(at.get(), wire.now_us)),
        properties: publication.properties,
        subscription_identifiers: wire.identifiers,
    }
}

/// Whether a message is past its expiry [MQTT-3.3.2-5].
pub fn is_expired(publication: &Publication<'_>, now_us: u64) -> bool {
    publication.expires_us.is_some_and(|at| at.get() <= now_us)
}

/// Seconds until `at_us`, rounded up so that what lives is never told 0 [MQTT-3.3.2-6].
fn remaining_s(at_us: u64, now_us: u64) -> u32 {
    u32::try_from(at_us.saturating_sub(now_us).div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
