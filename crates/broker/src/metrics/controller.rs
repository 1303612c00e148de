//! How long the controller's events take (`ControllerStats`).

use std::time::Duration;

use ottla_controller::ControllerState;

use super::histogram::Histogram;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ControllerTimes {
    /// In microseconds, in the order of `ControllerState::ALL`.
    by_state: [Histogram; ControllerState::ALL.len()],
}

impl ControllerTimes {
    /// An event of this state took so long, the waiting for replies included.
    pub(crate) fn record(&self, state: ControllerState, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.of(state).record(micros);
    }

    /// What was recorded of a state.
    pub(crate) fn of(&self, state: ControllerState) -> &Histogram {
        // The list of all ascends from 0 without gaps.
        &self.by_state[state as usize]
    }

    /// Begins a span of the quantiles.
    pub(crate) fn rotate(&self) {
        self.by_state.iter().for_each(Histogram::rotate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_place() {
        for (place, state) in ControllerState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, place);
        }
        let times = ControllerTimes::default();
        times.record(ControllerState::UpdateFeatures, Duration::from_millis(1));
        assert_eq!(times.of(ControllerState::UpdateFeatures).count(), 1);
        assert_eq!(times.of(ControllerState::BrokerChange).count(), 0);
    }
}
