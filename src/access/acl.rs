//! One access rule, and what it is asked: who wants to do what to which topic.
//!
//! [`Rule::hits`] is the plain reading of a rule. It serves the short lists that a client brings along
//! from its login, and is the oracle of the compiled form in `acl_compiled`.
//!
//! What a rule's filter hits:
//! - A topic name is hit if the filter matches it [MQTT-4.7]; a subscription's filter if the rule's
//!   filter covers it. `a/+` covers `a/b` and `a/+`, but not `a/#`.
//! - An allowing filter that begins with a wildcard does not hit what begins with `$` [MQTT-4.7.2-1].
//!   `{allow, all}.` does.
//! - Denying is never the narrower of two readings: a denying `a/+` also hits a subscription to `a/#`,
//!   a denying `#` also what begins with `$`, and where a placeholder's value holds `/`, `+`, `#` a
//!   denying filter hits whatever lies below the levels before it. An allowing one hits nothing then.
//! - A placeholder without a value hits nothing.

use std::fmt::{self, Write};
use std::net::IpAddr;

use regex::Regex;

use crate::mqtt::qos::QoS;

/// What a rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// Let it happen.
    Allow,
    /// Do not.
    Deny,
}

/// The two things that need a permission.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// PUBLISH, or a will.
    Publish,
    /// One filter of a SUBSCRIBE.
    Subscribe,
}

/// What a client wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Action {
    /// Publish or subscribe.
    pub verb: Verb,
    /// The message's QoS, or the one asked for.
    pub qos: QoS,
    /// Whether the message is to be retained; false for a subscription.
    pub retain: bool,
}

impl Action {
    /// Publishing a message.
    pub fn publish(qos: QoS, retain: bool) -> Self {
        Self {
            verb: Verb::Publish,
            qos,
            retain,
        }
    }

    /// Subscribing to a filter.
    pub fn subscribe(qos: QoS) -> Self {
        Self {
            verb: Verb::Subscribe,
            qos,
            retain: false,
        }
    }

    fn bit(self) -> u16 {
        let place = match (self.verb, self.retain) {
            (Verb::Publish, false) => 0,
            (Verb::Publish, true) => 3,
            (Verb::Subscribe, _) => 6,
        };
        1 << (place + u16::from(self.qos.as_u8()))
    }
}

/// A set of actions: one bit for each verb, QoS and, of a PUBLISH, RETAIN flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActionSet(u16);

impl ActionSet {
    /// Publishing of any kind.
    pub const PUBLISH: Self = Self(0b0_0011_1111);
    /// Subscribing at any QoS.
    pub const SUBSCRIBE: Self = Self(0b1_1100_0000);
    /// Everything.
    pub const ALL: Self = Self(0b1_1111_1111);

    /// Whether the action is in the set.
    pub fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// What is left of it at these QoS (bit `n` for QoS `n`).
    pub fn at_qos(self, qos: u8) -> Self {
        let each = u16::from(qos & 0b111);
        Self(self.0 & (each | each << 3 | each << 6))
    }

    /// What is left of it when messages are, or are not, to be retained. Subscriptions stay.
    pub fn with_retain(self, retain: bool) -> Self {
        let messages = if retain { 0b11_1000 } else { 0b00_0111 };
        Self(self.0 & (Self::SUBSCRIBE.0 | messages))
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// Where the client is, an IPv4 address as such.
    pub peer: IpAddr,
    /// The listener it came in by, such as `tcp:default`.
    pub listener: &'a str,
    /// The user name, if there is one.
    pub username: Option<&'a str>,
    /// The common name of its certificate.
    pub cert_common_name: Option<&'a str>,
    /// The subject of its certificate.
    pub cert_subject: Option<&'a str>,
    /// What its login said of it, by name.
    pub attributes: &'a [(Box<str>, Box<str>)],
}

impl<'a> Subject<'a> {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        let own = self.attributes.iter().find(|(own, _)| **own == *name);
        own.map(|(_, value)| &**value)
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it says.
    pub permission: Permission,
    /// Whom it concerns.
    pub who: Who,
    /// What it is about.
    pub actions: ActionSet,
    /// Which topics it is about.
    pub topics: Topics,
}

/// Which clients a rule concerns.
#[derive(Clone, Debug)]
pub enum Who {
    /// All.
    All,
    /// Those whose user name is so.
    User(Text),
    /// Those whose client id is so.
    Client(Text),
    /// Those with an address in one of these networks.
    Nets(Box<[Net]>),
    /// Those with an attribute of that name and value.
    Attribute(Box<str>, Text),
    /// Those that came in by this listener.
    Listener(Text),
    /// Those in this zone.
    Zone(Text),
    /// Those whom all of these name.
    And(Box<[Self]>),
    /// Those whom one of these names.
    Or(Box<[Self]>),
}

/// The zone of every client: there is one.
const ZONE: &str = "default";

/// What a name has to be.
#[derive(Clone, Debug)]
pub enum Text {
    /// Exactly this.
    Is(Box<str>),
    /// Something in which this is found.
    Like(Regex),
}

/// A network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Net {
    is_v4: bool,
    prefix_bits: u8,
    /// The network's address; of IPv4 in the lowest 32 bits.
    base: u128,
}

/// Which topics a rule is about.
#[derive(Clone, Debug)]
pub enum Topics {
    /// All, those that begin with `$` included.
    All,
    /// What one of these hits.
    Listed(Box<[Pattern]>),
}

/// Topics of a rule.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// What the filter hits.
    Filter(Box<[Level]>),
    /// This very text, wildcards included.
    Exactly(Box<str>),
}

/// One level of a rule's filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Level {
    /// This text.
    Is(Box<str>),
    /// `+`.
    Any,
    /// `#`.
    Rest,
    /// Text with placeholders.
    Template(Box<[Piece]>),
}

/// A part of a level with placeholders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Text as it stands.
    Text(Box<str>),
    /// What is put in for a placeholder.
    Value(Variable),
}

/// What a placeholder stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Variable {
    /// The client id.
    ClientId,
    /// The user name.
    Username,
    /// The address without the port.
    PeerHost,
    /// The common name of the client's certificate.
    CertCommonName,
    /// The subject of the client's certificate.
    CertSubject,
    /// The zone.
    Zone,
    /// The listener.
    Listener,
    /// A client attribute of that name.
    Attribute(Box<str>),
}

/// How a level with placeholders compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// The level is this.
    Same,
    /// It is not, or a value is missing.
    Other,
    /// A value holds `/`, `+` or `#`, so it cannot stand in a level.
    Unsafe,
}

impl Rule {
    /// Whether the rule decides.
    pub fn hits(&self, subject: &Subject<'_>, action: Action, topic: &str) -> bool {
        self.actions.has(action)
            && self.who.includes(subject)
            && self.topics.hit(self.permission, subject, topic)
    }

    /// Whether the rule concerns some of the topics that a subscription would get.
    pub fn overlaps(&self, subject: &Subject<'_>, action: Action, filter: &str) -> bool {
        self.actions.has(action)
            && self.who.includes(subject)
            && match &self.topics {
                Topics::All => true,
                Topics::Listed(patterns) => patterns.iter().any(|p| p.overlaps(subject, filter)),
            }
    }
}

impl Who {
    /// Whether a client is meant.
    pub fn includes(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All => true,
            Self::User(name) => subject.username.is_some_and(|user| name.fits(user)),
            Self::Client(id) => id.fits(subject.client_id),
            Self::Nets(nets) => nets.iter().any(|net| net.holds(subject.peer)),
            Self::Attribute(name, value) => {
                let own = subject.attribute(name);
                own.is_some_and(|own| value.fits(own))
            }
            Self::Listener(name) => name.fits(subject.listener),
            Self::Zone(name) => name.fits(ZONE),
            Self::And(all) => all.iter().all(|who| who.includes(subject)),
            Self::Or(any) => any.iter().any(|who| who.includes(subject)),
        }
    }
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Is(wanted) => **wanted == *text,
            Self::Like(pattern) => pattern.is_match(text),
        }
    }
}

impl Net {
    /// `10.0.0.0/8`, `2001:db8::/32`, or a single address. Bits behind the prefix are cleared.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let (is_v4, address) = bits(address.trim().parse().ok()?);
        let most = if is_v4 { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
            None => most,
        };
        (prefix_bits <= most)
            .then_some(Self {
                is_v4,
                prefix_bits,
                base: 0,
            })
            .map(|net| net.around(address))
    }

    /// Whether an address lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        let (is_v4, address) = bits(address);
        is_v4 == self.is_v4 && self.around(address).base == self.base
    }

    /// The network of that size in which an address lies, if it is of the same family.
    pub fn of_same_size(&self, address: IpAddr) -> Option<Self> {
        let (is_v4, address) = bits(address);
        (is_v4 == self.is_v4).then(|| self.around(address))
    }

    /// Its size without its place.
    pub fn size(&self) -> Self {
        Self { base: 0, ..*self }
    }

    fn around(self, address: u128) -> Self {
        let most = if self.is_v4 { 32 } else { 128 };
        let behind = u32::from(most - self.prefix_bits);
        let base = address.checked_shr(behind).unwrap_or(0);
        Self {
            base: base.checked_shl(behind).unwrap_or(0),
            ..self
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match u32::try_from(self.base) {
            Ok(v4) if self.is_v4 => IpAddr::V4(v4.into()),
            _ => IpAddr::V6(self.base.into()),
        };
        write!(f, "{address}/{}", self.prefix_bits)
    }
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (false, v6.to_bits()),
    }
}

impl Topics {
    fn hit(&self, permission: Permission, subject: &Subject<'_>, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(patterns) => patterns
                .iter()
                .any(|pattern| pattern.hits(permission, subject, topic)),
        }
    }
}

impl Pattern {
    fn hits(&self, permission: Permission, subject: &Subject<'_>, topic: &str) -> bool {
        let levels = match self {
            Self::Filter(levels) => levels,
            Self::Exactly(text) => return **text == *topic,
        };
        let denies = permission == Permission::Deny;
        let begins_wild = matches!(levels.first(), Some(Level::Any | Level::Rest));
        if topic.starts_with('$') && begins_wild && !denies {
            return false;
        }
        let mut names = topic.split('/');
        for level in levels {
            if *level == Level::Rest {
                return true;
            }
            let Some(name) = names.next() else {
                return false;
            };
            let same = match level {
                Level::Any => name != "#" || denies,
                Level::Rest => true,
                Level::Is(text) => **text == *name,
                Level::Template(pieces) => match fill(pieces, subject, name) {
                    Filled::Same => true,
                    Filled::Other => false,
                    Filled::Unsafe => return denies,
                },
            };
            if !same {
                return false;
            }
        }
        names.next().is_none()
    }

    /// Whether there is a topic that a subscription to `filter` gets and this denies. (What denies
    /// hits topics that begin with `$` with wildcards, too; a subscription does not.)
    fn overlaps(&self, subject: &Subject<'_>, filter: &str) -> bool {
        let levels = match self {
            Self::Filter(levels) => levels,
            Self::Exactly(text) => return **text == *filter,
        };
        let begins_with_dollar = match levels.first() {
            Some(Level::Is(text)) => text.starts_with('$'),
            _ => false,
        };
        let filter_begins_wild = filter.starts_with(['+', '#']);
        if begins_with_dollar && filter_begins_wild {
            return false;
        }
        let mut names = filter.split('/');
        for level in levels {
            let name = match (level, names.next()) {
                (Level::Rest, _) | (_, Some("#")) => return true,
                (_, None) => return false,
                (_, Some(name)) => name,
            };
            let same = match level {
                _ if name == "+" => true,
                Level::Any | Level::Rest => true,
                Level::Is(text) => **text == *name,
                Level::Template(pieces) => match fill(pieces, subject, name) {
                    Filled::Same => true,
                    Filled::Other => false,
                    Filled::Unsafe => return true,
                },
            };
            if !same {
                return false;
            }
        }
        matches!(names.next(), None | Some("#"))
    }
}

/// Compares a level with placeholders to the one of a topic.
pub(super) fn fill(pieces: &[Piece], subject: &Subject<'_>, level: &str) -> Filled {
    let mut rest = Some(level);
    for piece in pieces {
        let mut shown = ShownPeer::default();
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Value(variable) => match variable.value(subject, &mut shown) {
                Some(value) if value.contains(['/', '+', '#']) => return Filled::Unsafe,
                Some(value) if !value.is_empty() => value,
                _ => return Filled::Other,
            },
        };
        // The pieces behind are looked at all the same: one of them may be unsafe.
        rest = rest.and_then(|rest| rest.strip_prefix(text));
    }
    if rest == Some("") {
        Filled::Same
    } else {
        Filled::Other
    }
}

impl Variable {
    /// The placeholder of that name, as it stands between `${` and `}`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "clientid" => Self::ClientId,
            "username" => Self::Username,
            "peerhost" => Self::PeerHost,
            "cert_common_name" => Self::CertCommonName,
            "cert_subject" => Self::CertSubject,
            "zone" => Self::Zone,
            "listener" => Self::Listener,
            _ => {
                let attribute = name.strip_prefix("client_attrs.")?;
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if attribute.is_empty() || !attribute.chars().all(plain) {
                    return None;
                }
                Self::Attribute(attribute.into())
            }
        })
    }

    fn value<'a>(&self, subject: &Subject<'a>, shown: &'a mut ShownPeer) -> Option<&'a str> {
        match self {
            Self::ClientId => Some(subject.client_id),
            Self::Username => subject.username,
            Self::PeerHost => shown.of(subject.peer),
            Self::CertCommonName => subject.cert_common_name,
            Self::CertSubject => subject.cert_subject,
            Self::Zone => Some(ZONE),
            Self::Listener => Some(subject.listener),
            Self::Attribute(name) => subject.attribute(name),
        }
    }
}

/// An address as text, without memory of its own.
struct ShownPeer {
    bytes: [u8; 46],
    len: usize,
}

impl Default for ShownPeer {
    fn default() -> Self {
        Self {
            bytes: [0; 46],
            len: 0,
        }
    }
}

impl ShownPeer {
    fn of(&mut self, peer: IpAddr) -> Option<&str> {
        write!(self, "{}", peer.to_canonical()).ok()?;
        std::str::from_utf8(self.bytes.get(..self.len)?).ok()
    }
}

impl Write for ShownPeer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
