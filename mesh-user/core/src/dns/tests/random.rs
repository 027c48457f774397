//! Whatever comes, is the answer one that can be read?

use proptest::prelude::*;

use super::*;

fn check_any(view: &View, bytes: &[u8]) {
    for (transport, limit) in [(Transport::Datagram, 1_232), (Transport::Stream, 65_535)] {
        let (outcome, answer) = send(view, bytes, transport);
        match outcome {
            Outcome::Answer => {
                let parsed = Message::from_vec(&answer).unwrap();
                assert!(parsed.message_type == MessageType::Response && answer.len() <= limit);
                assert_eq!(answer[..2], bytes[..2]);
            }
            Outcome::Forward | Outcome::Silence => assert!(answer.is_empty()),
        }
    }
}

fn some_name() -> impl Strategy<Value = Name> {
    let label = prop_oneof![
        Just(b"m".to_vec()),
        Just(b"p".to_vec()),
        Just(b"app_web".to_vec()),
        Just(A_ID.as_bytes().to_vec()),
        Just(b"my-group-1".to_vec()),
        Just(b"ns".to_vec()),
        Just(b"front".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..40),
    ];
    let suffix = prop_oneof![Just(vec!["cc-ng", "cloud"]), Just(vec!["mesh", "internal"]), Just(vec!["org"])];
    (proptest::collection::vec(label, 0..5), suffix).prop_map(|(labels, suffix)| {
        let labels = labels.into_iter().chain(suffix.into_iter().map(|label| label.as_bytes().to_vec()));
        Name::from_labels(labels.collect::<Vec<_>>()).unwrap_or_default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_get_an_answer_that_can_be_read_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_any(&view(), &bytes);
    }

    #[test]
    fn any_question_gets_an_answer_that_can_be_read(name in some_name(), kind: u16, class: u16, size: u16, known: bool) {
        let kind = if known { 1 } else { kind };
        let mut query = with_edns(question(".", RecordType::from(kind)), size);
        query.queries[0].set_name(name).set_query_class(DNSClass::from(if known { 1 } else { class }));
        check_any(&view(), &query.to_bytes().unwrap());
    }

    #[test]
    fn a_query_with_some_bytes_changed_gets_an_answer_that_can_be_read_or_none(
        name in some_name(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut query = with_edns(question(".", RecordType::A), 1_232);
        query.queries[0].set_name(name);
        let mut bytes = query.to_bytes().unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check_any(&view(), &bytes);
    }
}
