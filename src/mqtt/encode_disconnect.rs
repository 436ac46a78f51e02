//! DISCONNECT and AUTH (sections 3.14 and 3.15), of 5.0: the same from both sides.

use super::decode_auth::Auth;
use super::decode_disconnect::Disconnect;
use super::frame::PacketType;
use super::property::{PropertyId, UserProperties};
use super::reason::ReasonCode;
use super::writer::{put_packet, put_properties};

/// Appends the DISCONNECT of a 5.0 server; a 3.x server sends none and just closes.
///
/// # Panics
/// If a string is longer than 65,535 bytes.
pub fn encode_disconnect(
    out: &mut Vec<u8>,
    reason: ReasonCode,
    reason_string: Option<&str>,
    server_reference: Option<&str>,
) {
    put_disconnect(
        out,
        &Disconnect {
            reason,
            reason_string,
            server_reference,
            ..Disconnect::default()
        },
    );
}

pub(super) fn put_disconnect(out: &mut Vec<u8>, disconnect: &Disconnect<'_>) {
    put_packet(out, PacketType::Disconnect, |out| {
        let bare = Disconnect {
            reason: disconnect.reason,
            ..Disconnect::default()
        };
        let has_properties = *disconnect != bare;
        if has_properties || disconnect.reason != ReasonCode::NORMAL_DISCONNECTION {
            out.push(disconnect.reason.as_u8());
        }
        if has_properties {
            put_properties(out, |writer| {
                writer.u32(
                    PropertyId::SessionExpiryInterval,
                    disconnect.session_expiry_interval,
                );
                writer.string(PropertyId::ReasonString, disconnect.reason_string);
                writer.string(PropertyId::ServerReference, disconnect.server_reference);
                writer.user_properties(disconnect.user_properties);
            });
        }
    });
}

/// Appends an AUTH.
///
/// # Panics
/// If a string or the data is longer than 65,535 bytes.
pub fn encode_auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    put_packet(out, PacketType::Auth, |out| {
        let bare = Auth {
            reason: ReasonCode::Success,
            authentication_method: None,
            authentication_data: None,
            reason_string: None,
            user_properties: UserProperties::default(),
        };
        if *auth == bare {
            return;
        }
        out.push(auth.reason.as_u8());
        put_properties(out, |writer| {
            writer.string(PropertyId::AuthenticationMethod, auth.authentication_method);
            writer.binary(PropertyId::AuthenticationData, auth.authentication_data);
            writer.string(PropertyId::ReasonString, auth.reason_string);
            writer.user_properties(auth.user_properties);
        });
    });
}
