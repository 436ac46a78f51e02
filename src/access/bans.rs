//! Who may not enter: banned client ids, user names and addresses, until their time is over.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use regex::Regex;

use crate::access::acl::Net;
use crate::access::acl_file::regex;
use crate::base::limits::{BAN_PATTERNS_MAX, BANS_MAX};

/// Whom a ban is for.
#[derive(Clone, Debug)]
pub enum BanWho {
    /// `clientid`.
    ClientId(Box<str>),
    /// `username`.
    Username(Box<str>),
    /// `peerhost`.
    PeerHost(IpAddr),
    /// `clientid_re`.
    ClientIdLike(Regex),
    /// `username_re`.
    UsernameLike(Regex),
    /// `peerhost_net`.
    PeerNet(Net),
}

/// One ban.
#[derive(Clone, Debug)]
pub struct Ban {
    /// For whom.
    pub who: BanWho,
    /// Who made it.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// When, seconds of UNIX time.
    pub at_unix_s: u64,
    /// Until when, seconds of UNIX time; absent = for ever.
    pub until_unix_s: Option<u64>,
}

/// The bans as one core knows them; nothing is allocated while there are none.
#[derive(Debug)]
pub struct BanTable {
    clients: HashMap<Box<str>, Arc<Ban>, RandomState>,
    users: HashMap<Box<str>, Arc<Ban>, RandomState>,
    hosts: HashMap<IpAddr, Arc<Ban>, RandomState>,
    /// Networks and regular expressions: compared one by one.
    patterns: Vec<Arc<Ban>>,
}

impl BanWho {
    /// Whom EMQX's words mean: `clientid`, `username`, `peerhost`, `clientid_re`, `username_re`,
    /// `peerhost_net`.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence.
    pub fn parse(kind: &str, who: &str) -> Result<Self, String> {
        if who.is_empty() {
            return Err("who is empty".to_owned());
        }
        let wrong = || format!("{who:?} is no {kind}");
        Ok(match kind {
            "clientid" => Self::ClientId(who.into()),
            "username" => Self::Username(who.into()),
            "peerhost" => {
                let address: IpAddr = who.parse().map_err(|_| wrong())?;
                Self::PeerHost(address.to_canonical())
            }
            "clientid_re" => Self::ClientIdLike(regex(who)?),
            "username_re" => Self::UsernameLike(regex(who)?),
            "peerhost_net" => Self::PeerNet(Net::parse(who).ok_or_else(wrong)?),
            _ => return Err(format!("there is no kind of ban {kind:?}")),
        })
    }

    /// EMQX's word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ClientId(_) => "clientid",
            Self::Username(_) => "username",
            Self::PeerHost(_) => "peerhost",
            Self::ClientIdLike(_) => "clientid_re",
            Self::UsernameLike(_) => "username_re",
            Self::PeerNet(_) => "peerhost_net",
        }
    }

    /// Who, as text.
    pub fn text(&self) -> String {
        match self {
            Self::ClientId(text) | Self::Username(text) => text.to_string(),
            Self::PeerHost(address) => address.to_string(),
            Self::ClientIdLike(pattern) | Self::UsernameLike(pattern) => pattern.to_string(),
            Self::PeerNet(net) => net.to_string(),
        }
    }

    /// Whether a client is meant.
    pub fn means(&self, client_id: &str, username: Option<&str>, peer: IpAddr) -> bool {
        match self {
            Self::ClientId(id) => **id == *client_id,
            Self::Username(name) => username == Some(name),
            Self::PeerHost(address) => *address == peer.to_canonical(),
            Self::ClientIdLike(pattern) => pattern.is_match(client_id),
            Self::UsernameLike(pattern) => username.is_some_and(|name| pattern.is_match(name)),
            Self::PeerNet(net) => net.holds(peer),
        }
    }
}

impl Ban {
    /// Whether its time is not over.
    pub fn holds(&self, now_unix_s: u64) -> bool {
        self.until_unix_s.is_none_or(|until| now_unix_s < until)
    }
}

impl BanTable {
    /// No bans; `seed` keys the hashes, because names are hostile input.
    pub fn new(seed: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            clients: HashMap::with_hasher(hasher.clone()),
            users: HashMap::with_hasher(hasher.clone()),
            hosts: HashMap::with_hasher(hasher),
            patterns: Vec::new(),
        }
    }

    /// Number of bans, those whose time is over included until they are swept.
    pub fn len(&self) -> usize {
        self.clients.len() + self.users.len() + self.hosts.len() + self.patterns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enters a ban, in place of one for the same; false if there is no room.
    pub fn add(&mut self, ban: Arc<Ban>, now_unix_s: u64) -> bool {
        self.remove(&ban.who);
        if self.len() >= BANS_MAX || self.patterns.len() >= BAN_PATTERNS_MAX {
            self.sweep(now_unix_s);
        }
        let is_pattern = !matches!(
            ban.who,
            BanWho::ClientId(_) | BanWho::Username(_) | BanWho::PeerHost(_)
        );
        if self.len() >= BANS_MAX || (is_pattern && self.patterns.len() >= BAN_PATTERNS_MAX) {
            return false;
        }
        match &ban.who {
            BanWho::ClientId(id) => drop(self.clients.insert(id.clone(), ban)),
            BanWho::Username(name) => drop(self.users.insert(name.clone(), ban)),
            BanWho::PeerHost(address) => drop(self.hosts.insert(*address, ban)),
            _ => self.patterns.push(ban),
        }
        true
    }

    /// Lifts a ban; says whether there was one.
    pub fn remove(&mut self, who: &BanWho) -> bool {
        match who {
            BanWho::ClientId(id) => self.clients.remove(id).is_some(),
            BanWho::Username(name) => self.users.remove(name).is_some(),
            BanWho::PeerHost(address) => self.hosts.remove(address).is_some(),
            pattern => {
                let before = self.patterns.len();
                let (kind, text) = (pattern.kind(), pattern.text());
                self.patterns
                    .retain(|ban| ban.who.kind() != kind || ban.who.text() != text);
                self.patterns.len() < before
            }
        }
    }

    /// The ban that keeps a client out.
    pub fn find(
        &self,
        client_id: &str,
        username: Option<&str>,
        peer: IpAddr,
        now_unix_s: u64,
    ) -> Option<&Arc<Ban>> {
        if self.is_empty() {
            return None;
        }
        let named = [
            self.clients.get(client_id),
            username.and_then(|name| self.users.get(name)),
            self.hosts.get(&peer.to_canonical()),
        ];
        let named = named.into_iter().flatten();
        named
            .chain(&self.patterns)
            .find(|ban| ban.holds(now_unix_s) && ban.who.means(client_id, username, peer))
    }

    /// Whether this very ban, which is for a client id, is in force and not another in its place.
    pub fn has(&self, ban: &Arc<Ban>) -> bool {
        let BanWho::ClientId(id) = &ban.who else {
            return false;
        };
        let own = self.clients.get(id);
        own.is_some_and(|own| Arc::ptr_eq(own, ban))
    }

    /// All bans, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Ban>> {
        let named = self.clients.values().chain(self.users.values());
        named.chain(self.hosts.values()).chain(&self.patterns)
    }

    /// Forgets bans whose time is over.
    pub fn sweep(&mut self, now_unix_s: u64) {
        self.clients.retain(|_, ban| ban.holds(now_unix_s));
        self.users.retain(|_, ban| ban.holds(now_unix_s));
        self.hosts.retain(|_, ban| ban.holds(now_unix_s));
        self.patterns.retain(|ban| ban.holds(now_unix_s));
    }
}

/// The bans of a bootstrap file: lines `as,who[,reason[,by[,at[,until]]]]`, times in seconds of UNIX
/// time; the first line names the columns.
///
/// # Errors
/// The line and what is wrong there.
pub fn read_bans(text: &str, now_unix_s: u64) -> Result<Vec<Ban>, String> {
    let mut bans = Vec::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |what: String| format!("line {}: {what}", at + 1);
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let field = |index: usize| fields.get(index).copied().filter(|text| !text.is_empty());
        let (Some(kind), Some(who)) = (field(0), field(1)) else {
            return Err(wrong("a ban is as,who,reason,by,at,until".to_owned()));
        };
        let second = |index: usize| match field(index).filter(|text| *text != "infinity") {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| wrong(format!("{text:?} is no second of UNIX time"))),
            None => Ok(None),
        };
        bans.push(Ban {
            who: BanWho::parse(kind, who).map_err(wrong)?,
            reason: field(2).unwrap_or("").into(),
            by: field(3).unwrap_or("bootstrap").into(),
            at_unix_s: second(4)?.unwrap_or(now_unix_s),
            until_unix_s: second(5)?,
        });
        if bans.len() > BANS_MAX {
            return Err(wrong(format!("there are more than {BANS_MAX} bans")));
        }
    }
    Ok(bans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(kind: &str, who: &str, until_unix_s: Option<u64>) -> Arc<Ban> {
        Arc::new(Ban {
            who: BanWho::parse(kind, who).unwrap(),
            by: "test".into(),
            reason: "".into(),
            at_unix_s: 0,
            until_unix_s,
        })
    }

    #[test]
    fn each_kind_keeps_out_whom_it_means_until_its_time_is_over() {
        let peer: IpAddr = "10.1.2.3".parse().unwrap();
        for (kind, who) in [
            ("clientid", "c"),
            ("username", "u"),
            ("peerhost", "::ffff:10.1.2.3"),
            ("clientid_re", "^[a-c]$"),
            ("username_re", "^u"),
            ("peerhost_net", "10.1.0.0/16"),
        ] {
            let mut table = BanTable::new([1, 2, 3, 4]);
            assert!(table.find("c", Some("u"), peer, 0).is_none());
            assert!(table.add(ban(kind, who, Some(100)), 0));
            assert!(table.find("c", Some("u"), peer, 99).is_some(), "{kind}");
            assert!(table.find("c", Some("u"), peer, 100).is_none(), "{kind}");
            let other: IpAddr = "10.2.2.3".parse().unwrap();
            assert!(table.find("u", Some("c"), other, 0).is_none(), "{kind}");
            assert!(table.find("u", None, other, 0).is_none(), "{kind}");
            assert!(table.add(ban(kind, who, None), 0));
            assert_eq!(table.len(), 1, "{kind}: one in place of the other");
            assert!(table.find("c", Some("u"), peer, u64::MAX).is_some());
            assert!(table.remove(&BanWho::parse(kind, who).unwrap()));
            assert!(table.is_empty());
        }
        assert!(BanWho::parse("peerhost", "10.0.0.0/8").is_err());
        assert!(BanWho::parse("clientid_re", "(").is_err());
        assert!(BanWho::parse("country", "x").is_err());
        assert!(BanWho::parse("clientid", "").is_err());
    }

    #[test]
    fn patterns_are_limited_and_those_over_make_room() {
        let mut table = BanTable::new([1, 2, 3, 4]);
        for n in 0..BAN_PATTERNS_MAX {
            let until = (n == 0).then_some(5);
            assert!(table.add(ban("clientid_re", &format!("x{n}$"), until), 0));
        }
        assert!(!table.add(ban("clientid_re", "more", None), 4));
        assert!(table.add(ban("clientid", "exact", None), 4));
        assert!(table.add(ban("clientid_re", "more", None), 5));
    }

    #[test]
    fn a_file_of_bans() {
        let text = "as,who,reason,by,at,until\nclientid,c1,spam,boss,5,10\n\npeerhost_net,10.0.0.0/8\nusername,u,,,,infinity\n";
        let bans = read_bans(text, 7).unwrap();
        assert_eq!(bans.len(), 3);
        assert_eq!((bans[0].at_unix_s, bans[0].until_unix_s), (5, Some(10)));
        assert_eq!((bans[1].at_unix_s, bans[1].until_unix_s), (7, None));
        assert_eq!(bans[2].until_unix_s, None);
        assert!(
            read_bans("head\nclientid\n", 0)
                .unwrap_err()
                .starts_with("line 2")
        );
        assert!(
            read_bans("head\nclientid,c,,,x\n", 0)
                .unwrap_err()
                .contains("no second")
        );
    }
}
