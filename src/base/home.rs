//! Which core is the home of a client id, of a retained topic.
//!
//! The hash is SipHash-2-4 with the key of the data directory: client ids and topics are hostile
//! input, and the value must be the same after a restart and in every build, since durable records
//! are keyed by slot.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::base::ids::CoreId;

/// Slots that client ids fall into; fixed for ever, so that `--cores` may change between starts.
pub const SLOTS: u64 = 16_384;

/// The map from names to cores; the same on every core.
#[derive(Clone, Copy, Debug)]
pub struct Homes {
    key: [u8; 16],
    cores: u8,
}

impl Homes {
    /// The map for `cores` cores under the data directory's key.
    pub fn new(key: [u8; 16], cores: u8) -> Self {
        assert!(cores > 0, "a broker has at least one core");
        Self { key, cores }
    }

    /// The hash slot of a client id.
    pub fn slot(&self, client_id: &str) -> u64 {
        self.hash(client_id.as_bytes()) % SLOTS
    }

    /// The core on which connection and session of a client id live.
    pub fn of_client(&self, client_id: &str) -> CoreId {
        self.core(self.slot(client_id))
    }

    /// The core that keeps the retained message of a topic.
    pub fn of_topic(&self, topic: &str) -> CoreId {
        self.core(self.hash(topic.as_bytes()) % SLOTS)
    }

    /// The home core of a group of shared subscribers, by group and filter.
    pub fn of_group(&self, text: &str) -> CoreId {
        self.of_topic(text)
    }

    /// A client id that nobody has and whose home is `core`, from a counter that the caller moves.
    pub fn assign_client_id(&self, core: CoreId, counter: &mut u64, salt: u64) -> String {
        loop {
            *counter += 1;
            let mut hasher = SipHasher24::new_with_key(&self.key);
            hasher.write_u64(salt);
            hasher.write_u8(core.0);
            hasher.write_u64(*counter);
            let id = format!("auto-{:016X}{:04X}", hasher.finish(), *counter & 0xFFFF);
            if self.of_client(&id) == core {
                return id;
            }
        }
    }

    fn core(&self, slot: u64) -> CoreId {
        let core = slot % u64::from(self.cores);
        CoreId(u8::try_from(core).unwrap_or(0))
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_clients_and_keeps_them() {
        let homes = Homes::new([7; 16], 4);
        let mut count = [0; 4];
        for i in 0..4000 {
            let id = format!("device-{i}");
            count[homes.of_client(&id).index()] += 1;
            assert_eq!(homes.of_client(&id), homes.of_client(&id));
        }
        assert!(count.iter().all(|n| (850..1150).contains(n)), "{count:?}");
    }

    #[test]
    fn the_hash_is_the_one_of_the_specification_of_siphash() {
        // Reference vector of SipHash-2-4: key 00..0f, input 00..0e.
        let key: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(Homes::new(key, 1).hash(&input), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn assigned_ids_are_at_home_where_they_are_made() {
        let homes = Homes::new([1; 16], 54);
        let mut counter = 0;
        let a = homes.assign_client_id(CoreId(53), &mut counter, 9);
        let b = homes.assign_client_id(CoreId(53), &mut counter, 9);
        assert_ne!(a, b);
        assert_eq!(homes.of_client(&a), CoreId(53));
    }
}
