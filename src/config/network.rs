//! Addresses as rules name them: networks, and who may connect.

use std::fmt;
use std::net::IpAddr;

use super::kind::{Kind, Raw, entries};

/// Rules or networks that one setting may list: each accepted connection is compared with all.
const ENTRIES_MAX: usize = 1024;

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address, in IPv6's form; what is not of the prefix is zero.
    bits: u128,
    /// Bits that count, of 128.
    prefix: u8,
}

/// One address in 128 bits, IPv4 in IPv6's form.
fn bits_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl Network {
    /// `192.168.0.0/16`, `10.0.0.1`, `fd00::/8`.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse::<u8>().ok()?,
            Some(_) => return None,
            None => width,
        };
        let prefix = 128 - width.checked_sub(len)?;
        Some(Self {
            bits: bits_of(ip) & mask(prefix),
            prefix,
        })
    }

    /// Whether an address is one of it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        bits_of(ip) & mask(self.prefix) == self.bits
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = IpAddr::from(self.bits.to_be_bytes()).to_canonical();
        let less = if ip.is_ipv4() { 96 } else { 0 };
        write!(f, "{ip}/{}", self.prefix.saturating_sub(less))
    }
}

/// `allow all`, `deny 192.168.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether those whom it fits may connect.
    pub allow: bool,
    /// Whom it fits; none for all.
    pub network: Option<Network>,
}

impl AccessRule {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let allow = match words.next()? {
            "allow" => true,
            "deny" => false,
            _ => return None,
        };
        let network = match words.next()? {
            "all" => None,
            network => Some(Network::parse(network)?),
        };
        words.next().is_none().then_some(Self { allow, network })
    }

    /// Whether the rules let an address in: the first that fits decides; none that fits does.
    pub fn admit(rules: &[Self], ip: IpAddr) -> bool {
        let fits = |rule: &&Self| rule.network.is_none_or(|network| network.contains(ip));
        rules.iter().find(fits).is_none_or(|rule| rule.allow)
    }
}

/// A list of one kind of entries.
pub(crate) struct Listed<T: 'static> {
    what: &'static str,
    example: &'static str,
    parse: fn(&str) -> Option<T>,
}

/// Rules of access, in order.
pub(crate) const ACCESS_RULES: Listed<AccessRule> = Listed {
    what: "rule",
    example: "allow all, or deny 192.168.0.0/24",
    parse: AccessRule::parse,
};

/// Networks.
pub(crate) const NETWORKS: Listed<Network> = Listed {
    what: "network",
    example: "10.0.0.0/8, 192.0.2.1, or fd00::/8",
    parse: Network::parse,
};

/// Words without spaces or control characters.
pub(crate) const WORDS: Listed<String> = Listed {
    what: "word",
    example: "mqtt, mqtt-v5",
    parse: |text| {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| text.to_owned())
    },
};

impl<T> Kind for Listed<T> {
    type Out = Vec<T>;

    fn parse(&self, raw: &Raw) -> Result<Vec<T>, String> {
        let entries = entries(raw).ok_or_else(|| {
            format!("{raw} is no list; write [\"...\", \"...\"] or one text with commas")
        })?;
        if entries.len() > ENTRIES_MAX {
            return Err(format!("the list has more than {ENTRIES_MAX} entries"));
        }
        let parse = |entry: &String| {
            (self.parse)(entry).ok_or_else(|| {
                let (what, example) = (self.what, self.example);
                format!("`{}` is no {what} such as {example}", entry.escape_debug())
            })
        };
        entries.iter().map(parse).collect()
    }

    fn describe(&self) -> String {
        format!("list of {}s, such as {}", self.what, self.example)
    }
}

/// Permissions of a file, as `chmod` takes them.
pub(crate) struct Mode;

impl Kind for Mode {
    type Out = u32;

    fn parse(&self, raw: &Raw) -> Result<u32, String> {
        let text = match raw {
            Raw::Bare(text) | Raw::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let octal = text.filter(|text| (3..=4).contains(&text.len()));
        octal
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| format!("{raw} is no file mode such as \"0660\""))
    }

    fn describe(&self) -> String {
        "file mode in octal, such as 0660".to_owned()
    }
}

/// A path of HTTP, from `/` on.
pub(crate) struct UrlPath;

impl Kind for UrlPath {
    type Out = String;

    fn parse(&self, raw: &Raw) -> Result<String, String> {
        match raw {
            Raw::Bare(text) | Raw::Text(text)
                if text.starts_with('/')
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#') =>
            {
                Ok(text.clone())
            }
            _ => Err(format!("{raw} is no path such as /mqtt")),
        }
    }

    fn describe(&self) -> String {
        "path of a URL".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            ("192.168.0.0/24", "192.168.0.255", "192.168.1.0"),
            ("192.168.0.77/24", "192.168.0.1", "10.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.3/32", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::/0", "1.2.3.4", "1.2.3.4"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(ip(inside)), "{network} {inside}");
            assert_eq!(
                parsed.contains(ip(outside)),
                inside == outside,
                "{network} {outside}"
            );
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "all",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
        assert_eq!(
            Network::parse("10.1.2.3/8").unwrap().to_string(),
            "10.0.0.0/8"
        );
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = |text: &str| ACCESS_RULES.parse(&Raw::Bare(text.to_owned())).unwrap();
        let some = rules("deny 192.168.0.0/24, allow 192.168.0.0/16, deny all");
        assert!(!AccessRule::admit(&some, ip("192.168.0.1")));
        assert!(AccessRule::admit(&some, ip("192.168.1.1")));
        assert!(!AccessRule::admit(&some, ip("10.0.0.1")));
        assert!(AccessRule::admit(&rules("allow all"), ip("::1")));
        assert!(
            AccessRule::admit(&rules("deny 10.0.0.0/8"), ip("1.1.1.1")),
            "none fits"
        );
        let said = ACCESS_RULES
            .parse(&Raw::Bare("permit all".to_owned()))
            .unwrap_err();
        assert_eq!(
            said,
            "`permit all` is no rule such as allow all, or deny 192.168.0.0/24"
        );
    }

    #[test]
    fn modes_are_octal() {
        let mode = |text: &str| Mode.parse(&Raw::Bare(text.to_owned()));
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("777"), Ok(0o777));
        for wrong in ["", "8", "0999", "1777", "66", "u+rw"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_a_panic(text in "\\PC{0,30}") {
            let _ = (Network::parse(&text), AccessRule::parse(&text));
        }

        #[test]
        fn a_network_holds_what_shares_its_bits(ip in any::<[u8; 4]>(), other in any::<[u8; 4]>(), len in 0_u8..=32) {
            let network = Network::parse(&format!("{}/{len}", IpAddr::from(ip))).unwrap();
            let shift = 32 - u32::from(len);
            let same = |a: u32, b: u32| a.checked_shr(shift) == b.checked_shr(shift);
            let want = same(u32::from_be_bytes(ip), u32::from_be_bytes(other));
            prop_assert_eq!(network.contains(IpAddr::from(other)), want);
        }
    }
}
