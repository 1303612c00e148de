//! A compacted log is the map of the latest values.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_compacted_log_equals_a_map(
        steps in proptest::collection::vec((0..12_u8, 0..8_u8, 1..4_usize), 1..120),
        slots in 2..40_u64,
    ) {
        let bench = Bench::new(compacted());
        let mut map: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut places: BTreeMap<Offset, (String, Option<String>)> = BTreeMap::new();
        let mut now = NOW.0;
        for (index, (kind, key, count)) in steps.into_iter().enumerate() {
            match kind {
                0 | 1 => bench.roll(),
                2 => {
                    bench.roll();
                    now += DELETE_RETENTION / 2;
                    bench.set_time(now);
                    bench.clean_with(CleanerSettings {
                        dedupe_buffer_size: 24 * slots,
                        io_buffer_size: 256,
                        ..CleanerSettings::default()
                    });
                }
                _ => {
                    let value = (kind > 4).then(|| format!("value-{index}"));
                    let rows: Vec<(String, Option<String>)> = (0..count)
                        .map(|i| (format!("key-{}", (usize::from(key) + i) % 8), value.clone()))
                        .collect();
                    let records: Vec<_> =
                        rows.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                    let first = bench.append(batch(RecordBatchBuilder::new(0), &records));
                    for (i, row) in rows.into_iter().enumerate() {
                        places.insert(first + i as i64, row.clone());
                        map.insert(row.0, row.1);
                    }
                }
            }
        }
        let rows = bench.rows();
        let mut seen: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (offset, key, value) in rows {
            prop_assert_eq!(&places[&offset], &(key.clone(), value.clone()));
            seen.insert(key, value);
        }
        // A deleted key may be gone, or there with its tombstone.
        seen.retain(|_, value| value.is_some());
        map.retain(|_, value| value.is_some());
        prop_assert_eq!(seen, map);
    }
}
