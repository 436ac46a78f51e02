//! Enhanced authentication (3.15, 4.12) where no method is offered: all of them are refused. The
//! exchange itself is tested in `enhanced.rs`.

use bench_harness::codec::{Auth, Packet, Properties, Property, Version};

use crate::peer::{clean, connect};
use crate::raw::packet;
use crate::world::{address, anyone, breaks, expect_cut, fresh, try_connect, with_properties};

const V5: Version = Version::V5;

#[test]
fn an_unknown_method_is_refused() {
    let method = [
        Property::AuthenticationMethod("NO-SUCH-METHOD".to_owned()),
        Property::AuthenticationData(b"data".to_vec()),
    ];
    let options = with_properties(clean(V5, &fresh("method")), &method);
    let ack = try_connect(address(), &options).unwrap_err().unwrap();
    assert!([0x8C, 0x87].contains(&ack.code), "{ack:?}");
}

#[test]
fn without_a_method_the_server_sends_none() {
    let mut client = connect(address(), &clean(V5, &fresh("none")));
    let method = |p: &Property| matches!(p, Property::AuthenticationMethod(_));
    assert!(!client.connack.properties.0.iter().any(method));
    crate::world::assert_alive(&mut client);
}

#[test]
fn without_a_method_a_clients_auth_is_refused() {
    let mut client = anyone(V5);
    let auth = Auth {
        code: 0x19,
        properties: Properties(vec![Property::AuthenticationMethod("m".to_owned())]),
    };
    client.send(&Packet::Auth(auth)).unwrap();
    expect_cut(V5, &mut client, &[0x82]);
}

#[test]
fn reserved_flags_are_malformed() {
    for flags in 1..16 {
        breaks(V5, &packet(0xF0 | flags, &[]), &[0x81]);
    }
}

#[test]
fn other_codes_are_refused() {
    for code in [0x01, 0x17, 0x80, 0xFF] {
        let body = [code, 4, 0x15, 0, 1, b'm'];
        breaks(V5, &packet(0xF0, &body), &[0x81, 0x82]);
    }
}
