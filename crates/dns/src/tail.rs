//! What follows the question in an answer, in wire form: written once, copied often.
//!
//! The header and the question are as long as they were in the query, so the compression pointers in
//! a tail stay right wherever the name is the compiled one. Tails that follow names which are not
//! known beforehand (the SOA of a name that does not exist) have no pointers at all.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use crate::error::Error;
use crate::query::HEADER;

/// An answer without its header, question and OPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    pub(crate) code: u8,
    pub(crate) answers: u16,
    pub(crate) authorities: u16,
    pub(crate) additionals: u16,
    bytes: Box<[u8]>,
    /// Where the additional section begins: it may be left away.
    additional_at: usize,
}

impl Tail {
    /// Nothing but a code.
    pub(crate) fn bare(code: u8) -> Self {
        Self { code, ..Self::default() }
    }

    /// Records that answer for `name` exactly; `additionals` help and may be left away.
    pub(crate) fn records(name: &Name, answers: &[Record], additionals: &[Record]) -> Result<Self, Error> {
        let without = encode(name, answers, &[])?;
        let with = encode(name, answers, additionals)?;
        Ok(Self {
            code: NOERROR,
            answers: count(answers),
            authorities: 0,
            additionals: count(additionals),
            additional_at: without.len(),
            bytes: with.into_boxed_slice(),
        })
    }

    /// The absence of a name or a type: the zone's SOA says for how long (RFC 2308).
    pub(crate) fn absence(code: u8, soa: &Record) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        soa.emit(&mut encoder).map_err(|error| failed(&soa.name, &error))?;
        let additional_at = bytes.len();
        Ok(Self { code, authorities: 1, bytes: bytes.into_boxed_slice(), additional_at, ..Self::default() })
    }

    /// All of it.
    pub(crate) fn full(&self) -> &[u8] {
        &self.bytes
    }

    /// Without the additional section.
    pub(crate) fn lean(&self) -> &[u8] {
        self.bytes.get(..self.additional_at).unwrap_or_default()
    }
}

/// The message for `name`, from behind the question on.
fn encode(name: &Name, answers: &[Record], additionals: &[Record]) -> Result<Vec<u8>, Error> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(name.clone(), RecordType::A));
    message.add_answers(answers.iter().cloned());
    message.add_additionals(additionals.iter().cloned());
    let bytes = message.to_vec().map_err(|error| failed(name, &error))?;
    let question = wire(name)?.len() + QUESTION_FIXED;
    Ok(bytes.get(HEADER + question..).unwrap_or_default().to_vec())
}

/// A name in wire form, in lower case.
pub(crate) fn wire(name: &Name) -> Result<Box<[u8]>, Error> {
    let mut bytes = name.to_lowercase().to_bytes().map_err(|error| failed(name, &error))?;
    bytes.make_ascii_lowercase();
    Ok(bytes.into_boxed_slice())
}

/// A record of class IN.
pub(crate) fn record(name: &Name, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name.clone(), ttl, data)
}

fn count(records: &[Record]) -> u16 {
    u16::try_from(records.len()).unwrap_or(u16::MAX)
}

fn failed(name: &Name, error: &dyn std::fmt::Display) -> Error {
    Error::Encode { name: name.to_string(), detail: error.to_string() }
}

/// All is well; the answer may still be empty.
pub(crate) const NOERROR: u8 = 0;
/// Type and class.
const QUESTION_FIXED: usize = 4;
