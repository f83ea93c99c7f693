//! Fragments that wait, a queue for each datagram.

use super::fifo::NONE;

#[derive(Debug)]
struct Node<T> {
    packet: Option<T>,
    /// The next of its queue, or the next free one.
    next: u32,
}

/// Room for all queues.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    len: u32,
}

/// The fragments that wait for one datagram's first, in the order they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    len: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }
}

impl Queue {
    pub(super) const fn len(&self) -> u32 {
        self.len
    }
}

impl<T> Waiting<T> {
    pub(super) fn new(size: u32) -> Self {
        let node = |next| Node {
            packet: None,
            next: if next < size { next } else { NONE },
        };
        Self {
            nodes: (1..=size).map(node).collect(),
            free: if size > 0 { 0 } else { NONE },
            len: 0,
        }
    }

    /// How many wait.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn is_full(&self) -> bool {
        self.free == NONE
    }

    /// Adds to a queue; gives back what does not fit.
    pub(super) fn push(&mut self, queue: &mut Queue, packet: T) -> Result<(), T> {
        let place = self.free;
        let Some(node) = self.nodes.get_mut(place as usize) else {
            return Err(packet);
        };
        self.free = std::mem::replace(&mut node.next, NONE);
        node.packet = Some(packet);
        match self.nodes.get_mut(queue.last as usize) {
            Some(last) => last.next = place,
            None => queue.first = place,
        }
        queue.last = place;
        queue.len += 1;
        self.len += 1;
        Ok(())
    }

    /// Takes the first of a queue.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<T> {
        let place = queue.first;
        let node = self.nodes.get_mut(place as usize)?;
        queue.first = std::mem::replace(&mut node.next, self.free);
        if queue.first == NONE {
            queue.last = NONE;
        }
        self.free = place;
        queue.len -= 1;
        self.len -= 1;
        node.packet.take()
    }
}
