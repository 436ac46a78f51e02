//! Subscriptions of one client and of all, the filters there are, and subscribing in a client's place.

use compact_str::CompactString;

use crate::base::ids::FilterId;
use crate::base::limits::MANAGE_SCAN_PER_STEP;
use crate::gate::manage::{Page, SubscriptionQuery, SubscriptionRow};
use crate::gate::reply::Reply;
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeOptions};
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;
use crate::routing::local::{Placed, SubOptions, SubscribedFilter};
use crate::shard::Shard;
use crate::shard::manage::{place, walk};
use crate::shard::share::GROUPS_FROM;
use crate::shard::share::memberships::Membership;

/// Set in a cursor that has come to the shared subscriptions.
const SHARED: u64 = 1 << 32;

/// A query, and the filters of this moment's index that it means.
struct Wanted<'a> {
    query: &'a SubscriptionQuery,
    exact: Option<FilterId>,
    /// In order of their numbers.
    matching: Vec<FilterId>,
}

impl Wanted<'_> {
    /// Whether an ordinary subscription is meant, as far as can be told without its text.
    fn may_hold(&self, placed: &Placed<'_>) -> bool {
        let query = self.query;
        if query.group.is_some()
            || query
                .qos
                .is_some_and(|qos| qos.as_u8() != placed.options.qos())
        {
            return false;
        }
        match placed.filter {
            SubscribedFilter::Live(filter) => {
                (query.filter.is_none() || self.exact == Some(filter))
                    && (query.match_topic.is_none()
                        || self
                            .matching
                            .binary_search_by_key(&filter.0, |f| f.0)
                            .is_ok())
            }
            SubscribedFilter::Pending(text) => self.holds_text(text),
        }
    }

    /// Whether a filter, without the prefix of a shared subscription, is meant.
    fn holds_text(&self, filter: &str) -> bool {
        let query = self.query;
        query
            .filter
            .as_deref()
            .is_none_or(|wanted| wanted == filter)
            && query
                .match_topic
                .as_deref()
                .is_none_or(|topic| topic_matches(filter, topic))
    }

    fn holds_shared(&self, member: &Membership) -> bool {
        let query = self.query;
        let (group, filter) = member.text.split_once('/').unwrap_or((&member.text, ""));
        query
            .qos
            .is_none_or(|qos| qos.as_u8() == member.options.qos())
            && query.group.as_deref().is_none_or(|wanted| wanted == group)
            && self.holds_text(filter)
    }
}

impl Shard {
    pub(super) fn list_subscriptions(
        &mut self,
        from: u64,
        query: &SubscriptionQuery,
        max: usize,
    ) -> Page<SubscriptionRow> {
        if from & SHARED != 0 {
            return self.list_shared(from, query, max);
        }
        let wanted = self.wanted(query);
        let bound = self.routes.local.places();
        let mut found = Vec::new();
        let page = walk(place(from), bound, (max, MANAGE_SCAN_PER_STEP), |number| {
            let placed = self.routes.local.at_place(number)?;
            let meant = placed.session < GROUPS_FROM && wanted.may_hold(&placed);
            meant.then(|| found.push(number))
        });
        let rows = found.into_iter().filter_map(|number| self.row(number));
        Page {
            rows: rows.collect(),
            next: page.next.or(Some(SHARED)),
        }
    }

    fn list_shared(
        &self,
        from: u64,
        query: &SubscriptionQuery,
        max: usize,
    ) -> Page<SubscriptionRow> {
        let wanted = Wanted {
            query,
            exact: None,
            matching: Vec::new(),
        };
        let members = &self.shares.memberships;
        let bound = members.index_bound();
        let page = walk(
            place(from & !SHARED),
            bound,
            (max, MANAGE_SCAN_PER_STEP),
            |index| {
                let (_, member) = members.at(index)?;
                wanted
                    .holds_shared(member)
                    .then(|| self.shared_row(member))?
            },
        );
        Page {
            rows: page.rows,
            next: page.next.map(|at| at | SHARED),
        }
    }

    fn wanted<'a>(&mut self, query: &'a SubscriptionQuery) -> Wanted<'a> {
        let mut matching = Vec::new();
        if let Some(topic) = &query.match_topic {
            let mut hits = std::mem::take(&mut self.hits);
            self.routes.index.matches(topic, &mut hits);
            matching.extend(hits.iter().map(|hit| hit.filter));
            matching.sort_unstable_by_key(|filter| filter.0);
            self.hits = hits;
        }
        let exact = query.filter.as_deref();
        Wanted {
            query,
            exact: exact.and_then(|filter| self.routes.index.find(filter)),
            matching,
        }
    }

    pub(super) fn subscriptions_of(
        &mut self,
        client_id: &str,
        from: u64,
        max: usize,
    ) -> Option<Page<SubscriptionRow>> {
        let index = self.clients.registry.find(client_id)?;
        let session = self.clients.registry.at(index)?;
        let (mut next, mut next_shared) = (session.first_subscription, session.first_membership);
        let resumed = place((from & !SHARED).saturating_sub(1));
        let local = &self.routes.local;
        if from & SHARED != 0 {
            next = u32::MAX;
            let member = self.shares.memberships.at(resumed);
            if member.is_some_and(|(_, member)| member.session == index) {
                next_shared = resumed;
            }
        } else if from != 0 && local.at_place(resumed).is_some_and(|p| p.session == index) {
            next = resumed;
        }
        let mut rows = Vec::new();
        while rows.len() < max
            && let Some(placed) = self.routes.local.at_place(next)
        {
            let after = placed.next_of_session;
            rows.extend(self.row(next));
            next = after;
        }
        if self.routes.local.at_place(next).is_some() {
            let next = Some(u64::from(next) + 1);
            return Some(Page { rows, next });
        }
        while rows.len() < max
            && let Some((_, member)) = self.shares.memberships.at(next_shared)
        {
            rows.extend(self.shared_row(member));
            next_shared = member.next_of_session();
        }
        let more = self.shares.memberships.at(next_shared).is_some();
        let next = more.then_some(SHARED | (u64::from(next_shared) + 1));
        Some(Page { rows, next })
    }

    /// The subscription at a place, with its filter's text.
    fn row(&mut self, number: u32) -> Option<SubscriptionRow> {
        let placed = self.routes.local.at_place(number)?;
        let session = self.clients.registry.at(placed.session)?;
        let filter = match placed.filter {
            SubscribedFilter::Pending(text) => text.to_owned(),
            SubscribedFilter::Live(filter) => self.routes.index.filter_text(filter)?.to_owned(),
        };
        Some(SubscriptionRow {
            client_id: session.client_id.clone(),
            filter,
            options: options_of(placed.options),
            identifier: placed.identifier,
            durable: session.expiry_s != 0,
        })
    }

    fn shared_row(&self, member: &Membership) -> Option<SubscriptionRow> {
        let session = self.clients.registry.at(member.session)?;
        let is_queue = member.text.starts_with("$queue/");
        let prefix = if is_queue { "" } else { "$share/" };
        Some(SubscriptionRow {
            client_id: session.client_id.clone(),
            filter: format!("{prefix}{}", member.text),
            options: options_of(member.options),
            identifier: member.identifier,
            durable: session.expiry_s != 0,
        })
    }

    pub(super) fn list_topics(&mut self, from: u64, max: usize) -> Page<String> {
        let bound = self.routes.local.places();
        let mut found = Vec::new();
        let page = walk(place(from), bound, (max, MANAGE_SCAN_PER_STEP), |number| {
            let placed = self.routes.local.at_place(number)?;
            let SubscribedFilter::Live(filter) = placed.filter else {
                return None;
            };
            let lowest = self.routes.index.cores(filter).iter().next();
            let listed = placed.is_first && lowest == Some(self.clients.core);
            listed.then(|| found.push(filter))
        });
        let texts = found.into_iter();
        let texts =
            texts.filter_map(|filter| self.routes.index.filter_text(filter).map(str::to_owned));
        Page {
            rows: texts.collect(),
            next: page.next,
        }
    }

    pub(super) fn is_wanted(&self, filter: &str) -> bool {
        let found = self.routes.index.find(filter);
        found.is_some_and(|id| !self.routes.index.cores(id).is_empty())
    }

    /// Subscribes a connected client as if it had asked itself, but for the packets.
    pub(super) fn subscribe_for(
        &mut self,
        client_id: &str,
        filters: &[(CompactString, SubscribeOptions)],
        reply: Reply<Option<Vec<u8>>>,
    ) {
        match self.connected_slot(client_id) {
            Some(slot) => self.subscribe_by_operator(slot, filters, reply),
            None => reply.send(None),
        }
    }

    pub(super) fn unsubscribe_for(
        &mut self,
        client_id: &str,
        filters: &[CompactString],
    ) -> Option<Vec<bool>> {
        let index = self.clients.registry.find(client_id)?;
        let ended = filters
            .iter()
            .map(|filter| self.unsubscribe_one(index, filter));
        Some(ended.collect())
    }
}

fn options_of(options: SubOptions) -> SubscribeOptions {
    SubscribeOptions {
        qos: QoS::from_u8(options.qos()).unwrap_or_default(),
        no_local: options.no_local(),
        retain_as_published: options.retain_as_published(),
        retain_handling: match options.retain_handling() {
            0 => RetainHandling::SendAlways,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    }
}
