//! Lanes between cores as the mesh offers them: whole records in order with their parcels, limited
//! in bytes and in parcels.

use std::collections::VecDeque;

use crate::base::staged::{RECORD_HEAD_BYTES, RecordHead, Staged};
use crate::shard::cross::Parcel;

/// One lane, from one core to another.
#[derive(Debug)]
pub struct Lane {
    bytes: VecDeque<u8>,
    parcels: VecDeque<Parcel>,
    capacity_bytes: usize,
    capacity_parcels: usize,
    /// Until this step of the world the lane takes nothing.
    pub stalled_until: u64,
}

impl Lane {
    /// An empty lane. An empty lane takes at least one record, however long, as the real one does.
    pub fn new(capacity_bytes: usize, capacity_parcels: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            parcels: VecDeque::new(),
            capacity_bytes,
            capacity_parcels: capacity_parcels.max(1),
            stalled_until: 0,
        }
    }

    /// Takes whole records from the front as far as there is room; says how many.
    pub fn flush(&mut self, staged: &mut Staged<Parcel>) -> usize {
        let room_parcels = self.capacity_parcels - self.parcels.len();
        let mut room_bytes = self.capacity_bytes.saturating_sub(self.bytes.len());
        if self.bytes.is_empty()
            && let Some(head) = staged.front().first_chunk()
        {
            room_bytes = room_bytes.max(RECORD_HEAD_BYTES + RecordHead::decode(*head).len);
        }
        let batch = staged.batch(room_bytes, room_parcels);
        self.bytes.extend(&staged.front()[..batch.bytes]);
        for _ in 0..batch.parcels {
            self.parcels.extend(staged.take_parcel());
        }
        staged.consume(batch.bytes);
        batch.records
    }

    /// Gives out the first record.
    pub fn take(&mut self) -> Option<(Vec<u8>, Option<Parcel>)> {
        if self.bytes.len() < RECORD_HEAD_BYTES {
            assert!(self.bytes.is_empty(), "a lane holds whole records");
            return None;
        }
        let mut head = [0; RECORD_HEAD_BYTES];
        for byte in &mut head {
            *byte = self.bytes.pop_front().unwrap_or(0);
        }
        let head = RecordHead::decode(head);
        let record: Vec<u8> = self.bytes.drain(..head.len).collect();
        let parcel = head.parcel.then(|| self.parcels.pop_front()).flatten();
        assert_eq!(head.parcel, parcel.is_some(), "a record has its parcel");
        Some((record, parcel))
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
