//! Which messages are answered, with what header, and how long an answer may be?

use super::*;

#[test]
fn the_apex_has_a_start_of_authority_and_a_server() {
    let view = view();
    let soa = ask(&view, SUFFIX, RecordType::SOA);
    assert!(matches!(&soa.answers[..], [Record { data: RData::SOA(_), .. }]) && soa.authoritative);
    let ns = ask(&view, SUFFIX, RecordType::NS);
    let [Record { data: RData::NS(server), .. }] = &ns.answers[..] else { panic!("{ns}") };
    assert_eq!(addresses(&ask(&view, &server.0.to_ascii(), RecordType::A)), ["127.0.0.153"]);
    assert_negative(&ask(&view, &server.0.to_ascii(), RecordType::AAAA), ResponseCode::NoError);
}

/// Of some value to a client that guards against forged answers by the case of its letters.
#[test]
fn case_does_not_matter_and_comes_back_as_it_was() {
    let (view, name) = (view(), format!("aPP_weB.m.{}.CC-ng.Cloud.", A_ID.to_uppercase()));
    let query = question(&name, RecordType::A);
    let (_, bytes) = send(&view, &query.to_vec().unwrap(), Transport::Datagram);
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(answer.queries[0].name().eq_case(query.queries[0].name()));
    assert!(answer.answers.len() == 3 && answer.answers.iter().all(|record| record.name.to_ascii() == name));
    let missing = question(&format!("X.{}", SUFFIX.to_uppercase()), RecordType::A);
    let answer = ask_with(&view, &missing, Transport::Datagram);
    assert!(answer.queries[0].name().eq_case(missing.queries[0].name()));
    assert_negative(&answer, ResponseCode::NXDomain);
}

#[test]
fn what_is_not_ours_is_refused_or_forwarded() {
    let refused = ask(&view(), "example.org", RecordType::A);
    assert_eq!((refused.response_code, refused.authoritative), (ResponseCode::Refused, false));
    let forwarding = view_of(Vec::new(), &options(true));
    let bytes = |name| question(name, RecordType::A).to_vec().unwrap();
    assert_eq!(send(&forwarding, &bytes("example.org"), Transport::Datagram).0, Outcome::Forward);
    assert_eq!(send(&forwarding, &bytes("xcc-ng.cloud"), Transport::Datagram).0, Outcome::Forward);
    let ours = ask(&forwarding, &format!("x.{SUFFIX}"), RecordType::A);
    assert_eq!((ours.response_code, ours.recursion_available), (ResponseCode::NXDomain, true));
}

#[test]
fn other_classes_transfers_and_operations_are_refused() {
    let view = view_of(Vec::new(), &options(true));
    let mut chaos = question("version.bind", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(ask_with(&view, &chaos, Transport::Datagram).response_code, ResponseCode::Refused);
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        let query = question(SUFFIX, kind);
        assert_eq!(ask_with(&view, &query, Transport::Stream).response_code, ResponseCode::Refused);
    }
    for operation in [OpCode::Notify, OpCode::Update, OpCode::Status] {
        let mut query = question(SUFFIX, RecordType::SOA);
        query.metadata.op_code = operation;
        assert_eq!(ask_with(&view, &query, Transport::Datagram).response_code, ResponseCode::NotImp);
    }
}

#[test]
fn none_or_several_questions_and_broken_ones_are_format_errors() {
    let view = view();
    let mut two = question(SUFFIX, RecordType::A);
    two.add_query(Query::query(Name::from_ascii(SUFFIX).unwrap(), RecordType::NS));
    assert_eq!(ask_with(&view, &two, Transport::Datagram).response_code, ResponseCode::FormErr);
    let none = Message::new(9, MessageType::Query, OpCode::Query);
    assert_eq!(ask_with(&view, &none, Transport::Datagram).response_code, ResponseCode::FormErr);

    let whole = question(SUFFIX, RecordType::A).to_vec().unwrap();
    for cut in 12..whole.len() {
        let (outcome, bytes) = send(&view, &whole[..cut], Transport::Datagram);
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!((outcome, answer.response_code, answer.id), (Outcome::Answer, ResponseCode::FormErr, 7));
    }
    // A name that points at itself.
    let mut looped = whole.clone();
    looped.splice(12.., [0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(
        Message::from_vec(&send(&view, &looped, Transport::Datagram).1).unwrap().response_code,
        ResponseCode::FormErr
    );
}

#[test]
fn what_is_no_query_gets_nothing() {
    let view = view();
    let mut response = question(SUFFIX, RecordType::A);
    response.metadata.message_type = MessageType::Response;
    let response = response.to_vec().unwrap();
    for silent in [&response[..], &response[..12], &[0; 11], &[]] {
        assert_eq!(send(&view, silent, Transport::Datagram), (Outcome::Silence, Vec::new()));
    }
}

fn crowd(count: u32) -> Arc<View> {
    let peers =
        (0..count).map(|n| (format!("p{n:05}"), None, "app_web", IpAddr::from((0x0a69_0005 + n).to_be_bytes())));
    let group = group(A_ID, "crowd", &[member("app_web")], &peers.collect::<Vec<_>>());
    view_of(vec![group], &options(false))
}

#[test]
fn a_long_answer_is_cut_to_what_the_client_takes_and_is_whole_over_a_stream() {
    let (view, name) = (crowd(1_000), format!("app_web.m.crowd.{SUFFIX}"));
    for (edns, limit) in [(None, 512), (Some(100), 512), (Some(800), 800), (Some(4_096), 1_232)] {
        let plain = question(&name, RecordType::A);
        let query = edns.map_or_else(|| plain.clone(), |size| with_edns(plain.clone(), size));
        let (_, bytes) = send(&view, &query.to_vec().unwrap(), Transport::Datagram);
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(answer.truncation && bytes.len() <= limit && bytes.len() > limit - 16, "{} of {limit}", bytes.len());
        assert_eq!(answer.edns.as_ref().map(|edns| edns.max_payload()), edns.map(|_| 1_232));
    }
    let whole = ask_with(&view, &question(&name, RecordType::A), Transport::Stream);
    assert!(!whole.truncation && whole.answers.len() == 1_000);
    let large = crowd(5_000);
    let (_, bytes) = send(&large, &question(&name, RecordType::A).to_vec().unwrap(), Transport::Stream);
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(answer.truncation && bytes.len() <= 65_535, "{} bytes", bytes.len());
    assert!(answer.answers.len() > 4_000, "{} answers", answer.answers.len());
}

#[test]
fn edns_is_answered_in_kind_and_other_versions_are_named_bad() {
    let view = view();
    let mut query = with_edns(question(SUFFIX, RecordType::SOA), 1_400);
    query.edns.as_mut().unwrap().set_dnssec_ok(true);
    let answer = ask_with(&view, &query, Transport::Datagram);
    let edns = answer.edns.as_ref().unwrap();
    assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok), (0, 1_232, true));
    query.edns.as_mut().unwrap().set_version(1);
    let bad = ask_with(&view, &query, Transport::Datagram);
    assert_eq!((u16::from(bad.response_code), bad.answers.len(), bad.version()), (16, 0, 0));
    assert!(ask(&view, SUFFIX, RecordType::SOA).edns.is_none());
}

#[test]
fn two_options_records_are_a_format_error() {
    let mut bytes = with_edns(question(SUFFIX, RecordType::A), 1_232).to_vec().unwrap();
    let opt = bytes[bytes.len() - 11..].to_vec();
    bytes.extend(opt);
    bytes[11] = 2;
    let answer = Message::from_vec(&send(&view(), &bytes, Transport::Datagram).1).unwrap();
    assert_eq!(answer.response_code, ResponseCode::FormErr);
}

#[test]
fn only_the_same_question_with_the_same_id_is_a_response() {
    let query = question("example.org", RecordType::A);
    let bytes = query.to_vec().unwrap();
    let mut response = query.clone().into_response();
    assert!(is_response(&bytes, &response.to_vec().unwrap()) && !is_response(&bytes, &bytes));
    response.metadata.id += 1;
    assert!(!is_response(&bytes, &response.to_vec().unwrap()));
    for other in [question("example.com", RecordType::A), question("example.org", RecordType::AAAA)] {
        assert!(!is_response(&bytes, &other.into_response().to_vec().unwrap()));
    }
}

#[test]
fn a_failure_names_the_question() {
    let mut answer = Vec::new();
    let query = with_edns(question("example.org", RecordType::A), 1_232);
    assert!(server_failure(&query.to_vec().unwrap(), &mut answer));
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!((answer.response_code, &answer.queries), (ResponseCode::ServFail, &query.queries));
}
