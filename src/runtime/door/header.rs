//! The PROXY header in front of a connection: awaited for a while, read, believed, and forgotten.

use std::net::SocketAddr;

use super::Door;
use crate::base::envelope::PeerNames;
use crate::metrics::Counter;
use crate::runtime::plane::Actions;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::ws::proxy::{self, ProxyHeader};

impl Door {
    /// Bytes of a socket whose PROXY header is awaited.
    pub(super) fn header_bytes(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        number: u32,
        bytes: &[u8],
    ) {
        let Some(open) = self.open_mut(number) else {
            return;
        };
        let Some(header) = &mut open.header else {
            return;
        };
        header.extend_from_slice(bytes);
        match proxy::parse(header) {
            Ok(None) => plane.handshake_receive(number),
            Ok(Some((said, len))) => {
                let rest = header.split_off(len.min(header.len()));
                self.header_read(shard, plane, number, said, rest);
            }
            Err(proxy::NoProxyHeader) => {
                let metrics = &shard.clients.metrics;
                metrics.inc(Counter::ProxyMalformed);
                self.refuse(shard, plane, number, &[], CloseReason::Malformed);
            }
        }
    }

    /// Goes on with a connection whose header has come, and what came behind it.
    fn header_read(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        number: u32,
        said: ProxyHeader,
        rest: Vec<u8>,
    ) {
        let Some(open) = self.open_mut(number) else {
            return;
        };
        open.header = None;
        let handshake = &mut open.handshake;
        handshake.peer = said.source.map_or(handshake.peer, canonical);
        if let Some(common_name) = said.common_name {
            handshake.peer_names = Some(Box::new(PeerNames {
                common_name: Some(common_name),
                ..PeerNames::default()
            }));
        }
        let (listener, peer) = (handshake.listener, handshake.peer);
        let Some(front) = self.fronts.get(usize::from(listener)) else {
            return;
        };
        if said.source.is_some() && !front.admits(peer.ip()) {
            shard.clients.metrics.inc(Counter::AcceptRefusedAccessRules);
            return self.refuse(shard, plane, number, &[], CloseReason::NotAuthorized);
        }
        if front.tls {
            return self.leave_for_desk(shard, plane, number, rest);
        }
        let websocket = front.websocket.as_ref().map(|w| w.begin(peer.ip()));
        if let (Some(websocket), Some(open)) = (websocket, self.open_mut(number)) {
            open.envelope = Some(websocket);
        }
        if rest.is_empty() {
            plane.handshake_receive(number);
        } else {
            self.mqtt_bytes(shard, plane, number, &rest);
        }
    }

    /// Gives up sockets whose header has not come in time.
    pub(super) fn give_up_headers(&mut self, shard: &mut Shard, plane: &mut Actions, now_ms: u64) {
        for at in 0..self.listeners.len() {
            while let Some((due_ms, number, serial)) = self.listeners[at].headers.front().copied() {
                let awaited = self.awaits_header(number, serial);
                if awaited && due_ms > now_ms {
                    break;
                }
                self.listeners[at].headers.pop_front();
                if awaited {
                    shard.clients.metrics.inc(Counter::ProxyTimeout);
                    self.refuse(shard, plane, number, &[], CloseReason::IdleTimeout);
                }
            }
        }
    }

    fn awaits_header(&self, number: u32, serial: u64) -> bool {
        let open = self
            .handshakes
            .get(number as usize)
            .and_then(Option::as_ref);
        open.is_some_and(|open| open.serial == serial && open.header.is_some())
    }
}

/// IPv4 as IPv4, however a proxy writes it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
