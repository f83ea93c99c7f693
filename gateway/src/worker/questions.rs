//! What the control plane asks of a worker's NAT state: answered a bounded piece a turn.

use sekisho_nat::{Census, Cursor, SessionFilter};

use super::Worker;
use super::link::{AddressPage, Command, PoolSet, Reply, SessionPage, Statistics};

/// Most session records looked at in one turn, to be shown or removed.
const SESSIONS: u32 = 256;
/// Most records looked at in one turn, to be counted.
const RECORDS: u32 = 1024;

/// A question that takes several turns.
#[derive(Debug)]
pub(super) enum Question {
    List(SessionPage),
    Clear {
        filter: SessionFilter,
        cursor: Cursor,
        cleared: u64,
    },
    Count(Box<Statistics>, Census),
    Addresses(AddressPage),
}

impl Worker {
    /// Serves one bounded piece of what the control task asked.
    pub(super) fn serve_commands(&mut self) {
        if self.question.is_none() {
            let Ok(command) = self.end.commands.pop() else {
                return;
            };
            self.question = self.begin_question(command);
        }
        if let Some(question) = self.question.take() {
            self.question = self.go_on(question);
        }
    }

    /// Answers what takes one turn; else says what there is to be done.
    fn begin_question(&mut self, command: Command) -> Option<Question> {
        let reply = match command {
            Command::ListSessions(page) => return Some(Question::List(page)),
            Command::ReadStatistics(statistics) => {
                return Some(Question::Count(statistics, Census::default()));
            }
            Command::ReadAddresses(page) => return Some(Question::Addresses(page)),
            Command::ClearSessions(filter) => {
                return Some(Question::Clear {
                    filter,
                    cursor: Cursor::default(),
                    cleared: 0,
                });
            }
            Command::ReadPools(mut pools) => {
                for (pool, usage) in &mut pools {
                    *usage = match *pool {
                        PoolSet::Pool(pool) => self.nat.pool_usage(pool),
                        PoolSet::Uplink(uplink) => self.nat.uplink_usage(uplink),
                    };
                }
                Reply::Pools(pools)
            }
            Command::ReadTenants(mut vrfs) => {
                for (vrf, sessions) in &mut vrfs {
                    *sessions = self.nat.sessions_of_vrf(*vrf);
                }
                Reply::Tenants(vrfs)
            }
        };
        self.reply(reply)
    }

    /// Does a piece; gives back what is left.
    fn go_on(&mut self, question: Question) -> Option<Question> {
        match question {
            Question::List(page) => self.list_sessions(page),
            Question::Clear {
                filter,
                cursor,
                cleared,
            } => {
                let (more, next) = self.nat.clear(&filter, cursor, SESSIONS);
                let cleared = cleared + u64::from(more);
                let Some(cursor) = next else {
                    return self.reply(Reply::Cleared(cleared));
                };
                Some(Question::Clear {
                    filter,
                    cursor,
                    cleared,
                })
            }
            Question::Count(mut statistics, at) => {
                match self.nat.take_census(at, RECORDS, &mut statistics.vrfs) {
                    Some(next) => Some(Question::Count(statistics, next)),
                    None => {
                        statistics.all = self.nat.stats();
                        self.reply(Reply::Statistics(statistics))
                    }
                }
            }
            Question::Addresses(mut page) => {
                let AddressPage {
                    pool,
                    cursor,
                    addresses,
                } = &mut page;
                match self.nat.address_usage(*pool, *cursor, RECORDS, addresses) {
                    Some(next) => {
                        page.cursor = next;
                        Some(Question::Addresses(page))
                    }
                    None => self.reply(Reply::Addresses(page)),
                }
            }
        }
    }

    fn list_sessions(&mut self, mut page: SessionPage) -> Option<Question> {
        let now = self.nat_now();
        let cursor = page.cursor.unwrap_or_default();
        let room = page.sessions.capacity() - page.sessions.len();
        // Each record gives at most one view, so the page never grows.
        let records = SESSIONS.min(room as u32);
        page.cursor = self
            .nat
            .snapshot(now, &page.filter, cursor, records, &mut page.sessions);
        let is_full = page.sessions.len() == page.sessions.capacity();
        if page.cursor.is_some() && !is_full {
            return Some(Question::List(page));
        }
        self.reply(Reply::Sessions(page))
    }

    /// Answers: nothing is left to be done.
    fn reply(&mut self, reply: Reply) -> Option<Question> {
        // One question is asked at a time: there is room for its answer.
        let _ = self.end.replies.push(reply);
        None
    }
}
