//! Bytes of a query to bytes of its answer.

use std::net::IpAddr;

use hickory_proto::{
    ProtoError,
    op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts},
    rr::{
        DNSClass, RData, Record, RecordType,
        rdata::{NS, SOA},
    },
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder},
};

use super::{
    group_names::Node,
    zones::{Found, Suffix, View},
};

/// What a datagram may hold for one who does not say (RFC 1035, section 2.3.4).
const PLAIN_LIMIT: usize = 512;
/// The largest datagram that is nowhere cut into fragments (RFC 9715).
pub const DATAGRAM_LIMIT: usize = 1232;
/// What two bytes of length before a message can say (RFC 1035, section 4.2.2).
pub const STREAM_LIMIT: usize = 65_535;

const HEADER: usize = 12;
/// The end of the name, type and class of a question.
const QUESTION: usize = 5;
/// The two high bits that make a name a pointer (RFC 1035, section 4.1.4).
const POINTER: u16 = 0xc000;
/// A record without its data whose name is a pointer to the question.
const RECORD: usize = 12;
/// A root name, type, class, TTL and length (RFC 6891, section 6.1.2).
const OPT: usize = 11;

/// How often a secondary server would ask; there is none.
const REFRESH: i32 = 3_600;

/// How the query came, and so how long the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Datagram,
    Stream,
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is in the buffer.
    Answer,
    /// Not ours: another server has the answer.
    Forward,
    /// Not a query, or not enough of one: whoever sent it gets nothing.
    Silence,
}

impl View {
    /// Writes the answer to `query` into `answer`, which is cleared first.
    pub fn answer(&self, query: &[u8], transport: Transport, answer: &mut Vec<u8>) -> Outcome {
        answer.clear();
        let Ok(header) = Header::read(&mut BinDecoder::new(query)) else { return Outcome::Silence };
        // Two servers that answer each other's answers would never end.
        if header.metadata.message_type == MessageType::Response {
            return Outcome::Silence;
        }
        let reply = match Message::from_vec(query) {
            _ if header.metadata.op_code != OpCode::Query => Reply::refusal(&header.metadata, ResponseCode::NotImp),
            Err(_) => Reply::refusal(&header.metadata, ResponseCode::FormErr),
            Ok(query) => match self.reply(&query, transport) {
                Some(reply) => reply,
                None => return Outcome::Forward,
            },
        };
        match reply.write(answer) {
            true => Outcome::Answer,
            false => Outcome::Silence,
        }
    }

    /// Nothing if the query is to be forwarded.
    fn reply(&self, query: &Message, transport: Transport) -> Option<Reply> {
        let mut reply = Reply::to(query, transport);
        reply.metadata.recursion_available = self.served.forwards;
        if query.version() > 0 {
            return Some(reply.with_code(ResponseCode::BADVERS));
        }
        let [question] = &query.queries[..] else { return Some(reply.with_code(ResponseCode::FormErr)) };
        reply.question = Some(question.clone());
        let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
        if question.query_class() != DNSClass::IN || transfer {
            return Some(reply.with_code(ResponseCode::Refused));
        }
        match self.look_up(question.name()) {
            Found::Elsewhere if self.served.forwards => return None,
            Found::Elsewhere => return Some(reply.with_code(ResponseCode::Refused)),
            Found::Nothing(suffix) => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.authorities.push(self.start_of_authority(suffix));
            }
            Found::Apex(suffix, node) => match self.apex(suffix, question) {
                Some(record) => reply.answers.push(Answer::Record(Box::new(record))),
                None => self.node(&mut reply, suffix, question, node),
            },
            Found::Node(suffix, node) => self.node(&mut reply, suffix, question, node),
        }
        reply.metadata.authoritative = true;
        Some(reply)
    }

    fn node(&self, reply: &mut Reply, suffix: &Suffix, question: &Query, node: &Node) {
        reply.add_addresses(question, node, self.served.ttl);
        // The name is there without what was asked for (RFC 2308, section 2.2).
        if reply.answers.is_empty() && !reply.metadata.truncation {
            reply.authorities.push(self.start_of_authority(suffix));
        }
    }

    /// What only the name of a zone has. All of it is too much for one who asks for `ANY` (RFC 8482, section 4.1).
    fn apex(&self, suffix: &Suffix, question: &Query) -> Option<Record> {
        match question.query_type() {
            RecordType::SOA | RecordType::ANY => Some(self.start_of_authority(suffix)),
            RecordType::NS => {
                let server = RData::NS(NS(suffix.server.clone()));
                Some(Record::from_rdata(question.name().clone(), self.served.ttl, server))
            }
            _ => None,
        }
    }

    /// Its TTL and last field are how long it may be remembered that something is not there (RFC 2308, section 3).
    fn start_of_authority(&self, suffix: &Suffix) -> Record {
        let ttl = self.served.ttl;
        let (server, mailbox) = (suffix.server.clone(), suffix.mailbox.clone());
        let data = SOA::new(server, mailbox, self.serial, REFRESH, REFRESH, REFRESH, ttl);
        Record::from_rdata(suffix.name.clone(), ttl, RData::SOA(data))
    }
}

/// Writes into `answer` that nobody could be asked; whether there is anything to answer to.
pub fn server_failure(query: &[u8], answer: &mut Vec<u8>) -> bool {
    answer.clear();
    let Ok(query) = Message::from_vec(query) else { return false };
    let mut reply = Reply::to(&query, Transport::Datagram).with_code(ResponseCode::ServFail);
    reply.metadata.recursion_available = true;
    reply.question = query.queries.first().cloned();
    reply.write(answer)
}

/// Whether `response` may be what another server says to `query`: the same id and the same question (RFC 5452, section 9.1).
pub fn is_response(query: &[u8], response: &[u8]) -> bool {
    let (Ok(query), Ok(response)) = (Message::from_vec(query), Message::from_vec(response)) else { return false };
    response.metadata.message_type == MessageType::Response
        && response.metadata.id == query.metadata.id
        && response.queries == query.queries
}

/// An answer in the making.
#[derive(Debug)]
struct Reply {
    metadata: Metadata,
    question: Option<Query>,
    answers: Vec<Answer>,
    authorities: Vec<Record>,
    edns: Option<Edns>,
    /// Bytes that it may have.
    limit: usize,
}

#[derive(Debug)]
enum Answer {
    /// Of the name in the question: each costs two bytes of name, however many there are.
    Address(IpAddr, u32),
    Record(Box<Record>),
}

impl Reply {
    fn to(query: &Message, transport: Transport) -> Reply {
        let edns = query.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_LIMIT as u16).set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        let limit = match transport {
            Transport::Datagram => usize::from(query.max_payload()).clamp(PLAIN_LIMIT, DATAGRAM_LIMIT),
            Transport::Stream => STREAM_LIMIT,
        };
        Reply { edns, limit, ..Reply::refusal(&query.metadata, ResponseCode::NoError) }
    }

    /// To a query of which only the header could be read.
    fn refusal(query: &Metadata, code: ResponseCode) -> Reply {
        let mut metadata = Metadata::response_from_request(query);
        metadata.response_code = code;
        Reply { metadata, question: None, answers: Vec::new(), authorities: Vec::new(), edns: None, limit: PLAIN_LIMIT }
    }

    fn with_code(mut self, code: ResponseCode) -> Reply {
        self.metadata.response_code = code;
        self
    }

    /// As many as fit, from another one with each turn.
    fn add_addresses(&mut self, question: &Query, node: &Node, ttl: u32) {
        let (v4, v6) = match question.query_type() {
            RecordType::A => (true, false),
            RecordType::AAAA => (false, true),
            RecordType::ANY => (true, true),
            _ => return,
        };
        let wanted = |address: &&IpAddr| if address.is_ipv4() { v4 } else { v6 };
        let count = node.addresses().iter().filter(wanted).count();
        let opt = if self.edns.is_some() { OPT } else { 0 };
        let mut room = self.limit.saturating_sub(HEADER + question.name().len() + QUESTION + opt);
        let begin = if count > 1 { node.next_turn() % count } else { 0 };
        for address in node.addresses().iter().filter(wanted).cycle().skip(begin).take(count) {
            let size = RECORD + if address.is_ipv4() { 4 } else { 16 };
            let Some(left) = room.checked_sub(size) else {
                self.metadata.truncation = true;
                return;
            };
            room = left;
            self.answers.push(Answer::Address(*address, ttl));
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) -> bool {
        let mut encoder = BinEncoder::new(bytes);
        encoder.set_max_size(self.limit as u16);
        let written = emit_message_parts(
            &self.metadata,
            &mut self.question.iter(),
            &mut self.answers.iter(),
            &mut self.authorities.iter(),
            &mut std::iter::empty::<&Record>(),
            self.edns.as_ref(),
            None,
            &mut encoder,
        );
        written.is_ok()
    }
}

impl BinEncodable for Answer {
    fn emit(&self, encoder: &mut BinEncoder<'_>) -> Result<(), ProtoError> {
        let (address, ttl) = match self {
            Answer::Record(record) => return record.emit(encoder),
            Answer::Address(address, ttl) => (address, *ttl),
        };
        encoder.emit_u16(POINTER | HEADER as u16)?;
        let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        encoder.emit_u16(kind.into())?;
        encoder.emit_u16(DNSClass::IN.into())?;
        encoder.emit_u32(ttl)?;
        let mut data = |octets: &[u8]| {
            encoder.emit_u16(octets.len() as u16)?;
            encoder.emit_vec(octets)
        };
        match address {
            IpAddr::V4(address) => data(&address.octets()),
            IpAddr::V6(address) => data(&address.octets()),
        }
    }
}
