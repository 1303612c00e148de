//! The configuration in force: the broker's own, and each topic's over it. Dynamic changes swap
//! values here; whoever needs one reads it at the moment of use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_config::{BrokerConfig, ConfigError, TopicConfig};
use ottla_model::TopicName;

/// Overrides of one entity, as its config znode lists them.
pub type Overrides = BTreeMap<String, String>;

#[derive(Debug)]
struct State {
    broker: Arc<BrokerConfig>,
    defaults: Arc<TopicConfig>,
    topics: HashMap<TopicName, (Arc<Overrides>, Arc<TopicConfig>)>,
}

/// The configuration in force.
#[derive(Debug)]
pub struct Configs {
    state: ArcSwap<State>,
}

impl Configs {
    /// Starts with the broker's configuration and no topic overrides.
    pub fn new(broker: BrokerConfig) -> Result<Self, ConfigError> {
        let defaults = Arc::new(TopicConfig::resolve(&broker, &Overrides::new())?);
        let state = State {
            broker: Arc::new(broker),
            defaults,
            topics: HashMap::new(),
        };
        Ok(Self {
            state: ArcSwap::from_pointee(state),
        })
    }

    /// The broker's configuration now.
    pub fn broker(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.state.load().broker)
    }

    /// A topic's effective configuration now; the broker's defaults for a topic without overrides.
    pub fn topic(&self, topic: &str) -> Arc<TopicConfig> {
        let state = self.state.load();
        match state.topics.get(topic) {
            Some((_, config)) => Arc::clone(config),
            None => Arc::clone(&state.defaults),
        }
    }

    /// A topic's overrides as last seen.
    pub fn topic_overrides(&self, topic: &str) -> Arc<Overrides> {
        let state = self.state.load();
        state
            .topics
            .get(topic)
            .map(|(overrides, _)| Arc::clone(overrides))
            .unwrap_or_default()
    }

    /// Replaces a topic's overrides; on an error nothing changes.
    pub fn set_topic(&self, topic: &TopicName, overrides: Overrides) -> Result<(), ConfigError> {
        let state = self.state.load();
        let config = Arc::new(TopicConfig::resolve(&state.broker, &overrides)?);
        let overrides = Arc::new(overrides);
        self.state.rcu(|state| {
            let mut topics = state.topics.clone();
            if overrides.is_empty() {
                topics.remove(topic);
            } else {
                topics.insert(topic.clone(), (Arc::clone(&overrides), Arc::clone(&config)));
            }
            State {
                broker: Arc::clone(&state.broker),
                defaults: Arc::clone(&state.defaults),
                topics,
            }
        });
        Ok(())
    }

    /// Forgets a deleted topic.
    pub fn remove_topic(&self, topic: &str) {
        if !self.state.load().topics.contains_key(topic) {
            return;
        }
        self.state.rcu(|state| {
            let mut topics = state.topics.clone();
            topics.remove(topic);
            State {
                broker: Arc::clone(&state.broker),
                defaults: Arc::clone(&state.defaults),
                topics,
            }
        });
    }

    /// Replaces the broker's configuration and recomputes every topic's; on an error nothing
    /// changes.
    pub fn set_broker(&self, broker: BrokerConfig) -> Result<(), ConfigError> {
        let state = self.state.load();
        let defaults = Arc::new(TopicConfig::resolve(&broker, &Overrides::new())?);
        let mut topics = HashMap::with_capacity(state.topics.len());
        for (topic, (overrides, _)) in &state.topics {
            let config = Arc::new(TopicConfig::resolve(&broker, overrides)?);
            topics.insert(topic.clone(), (Arc::clone(overrides), config));
        }
        self.state.store(Arc::new(State {
            broker: Arc::new(broker),
            defaults,
            topics,
        }));
        Ok(())
    }
}
