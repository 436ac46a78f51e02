//! Whether a client may have the session that another left under its client id: a client id is no
//! credential, and subscriptions of one user are not for another.
//!
//! Looked at where the user name is another one, or where listeners have mountpoints. Each subscription
//! must then be one that the newcomer could make itself, by rules in memory; what others would have to be
//! asked about is not. If one is not, the session is discarded as if a clean start had been wished.

use std::sync::Arc;

use crate::access::acl::{Action, Subject};
use crate::access::rules::Verdict;
use crate::mqtt::decode_connect::Connect;
use crate::mqtt::qos::QoS;
use crate::shard::Shard;
use crate::shard::handshake::Handover;
use crate::shard::mountpoint::text;

impl Shard {
    /// Whether a client may come back to a session of its id.
    pub(super) fn may_inherit(
        &mut self,
        session_index: u32,
        handover: &Handover,
        connect: &Connect<'_>,
    ) -> bool {
        let identity = handover.identity.as_deref();
        let known = identity.and_then(|identity| identity.username.as_deref());
        let username = known.or(connect.username);
        let Some(session) = self.clients.registry.at(session_index) else {
            return true;
        };
        let is_same = session.username() == username;
        let addons = &self.clients.rules.addons;
        if is_same && !addons.has_mountpoints() {
            return true;
        }
        let template = addons.mountpoint(handover.listener);
        let mount = template.and_then(|t| text(t, &handover.client_id, username));
        let mount = mount.unwrap_or_default();
        let is_free = is_same || identity.is_some_and(|identity| identity.superuser);
        let rules = Arc::clone(&self.clients.rules.access);
        let acl = identity.and_then(|identity| identity.acl.as_deref());
        let names = identity.and_then(|identity| identity.peer_names.as_deref());
        let listeners = Arc::clone(&self.clients.rules.listener_ids);
        let subject = Subject {
            client_id: &handover.client_id,
            peer: handover.peer.ip(),
            listener: listeners
                .get(usize::from(handover.listener))
                .map_or("", |id| id),
            username: known,
            cert_common_name: names.and_then(|names| names.common_name.as_deref()),
            cert_subject: names.and_then(|names| names.subject.as_deref()),
            attributes: identity.map_or(&[], |identity| &identity.attributes),
        };
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        let filters = self.filters_of(session_index);
        filters.iter().all(|(filter, qos)| {
            let what = filter.strip_prefix(&mount);
            let what = what.map(|own| (Action::subscribe(*qos), own));
            what.is_some_and(|what| {
                is_free || rules.judge(&subject, acl, what, now_unix_s) == Verdict::Allow
            })
        })
    }

    /// What a session is subscribed to, without the marks of shared subscriptions.
    fn filters_of(&mut self, session_index: u32) -> Vec<(String, QoS)> {
        let Some(session) = self.clients.registry.at(session_index) else {
            return Vec::new();
        };
        let qos = |bits: u8| QoS::from_u8(bits).unwrap_or(QoS::ExactlyOnce);
        let mut filters = Vec::new();
        let index = &mut self.routes.index;
        let first = session.first_subscription;
        self.routes
            .local
            .for_each_subscription(index, first, |filter, options, _| {
                filters.push((filter.to_owned(), qos(options.qos())));
            });
        let shared = self.shares.memberships.of_session(session.first_membership);
        filters.extend(shared.map(|(_, member)| {
            let (_, filter) = member.text.split_once('/').unwrap_or(("", &member.text));
            (filter.to_owned(), qos(member.options.qos()))
        }));
        filters
    }
}
