//! SASL on listeners.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::class("sasl.client.callback.handler.class").unserved()
        .doc("Java class that answers a SASL client's questions."),
    Key::list("sasl.enabled.mechanisms").default("GSSAPI").per_broker().unserved()
        .doc("SASL mechanisms that clients may use."),
    Key::password("sasl.jaas.config").per_broker().unserved()
        .doc("SASL login in the JAAS format."),
    Key::string("sasl.kerberos.kinit.cmd").default("/usr/bin/kinit").per_broker().unserved()
        .doc("Command that gets Kerberos tickets."),
    Key::long("sasl.kerberos.min.time.before.relogin").default("60000").per_broker().unserved()
        .doc("Shortest time between two Kerberos logins."),
    Key::list("sasl.kerberos.principal.to.local.rules").default("DEFAULT").per_broker().unserved()
        .doc("Rules that turn Kerberos principals into short names."),
    Key::string("sasl.kerberos.service.name").per_broker().unserved()
        .doc("Kerberos service name of the brokers."),
    Key::double("sasl.kerberos.ticket.renew.jitter").default("0.05").per_broker().unserved()
        .doc("Share of the renewal time of a ticket that is random."),
    Key::double("sasl.kerberos.ticket.renew.window.factor").default("0.8").per_broker().unserved()
        .doc("Share of a ticket's life after which it is renewed."),
    Key::class("sasl.login.callback.handler.class").unserved()
        .doc("Java class that answers a SASL login's questions."),
    Key::class("sasl.login.class").unserved()
        .doc("Java class that performs the SASL login."),
    Key::int("sasl.login.connect.timeout.ms").low().unserved()
        .doc("Time to connect to the provider of OAuth tokens."),
    Key::int("sasl.login.read.timeout.ms").low().unserved()
        .doc("Time to wait for the provider of OAuth tokens."),
    Key::short("sasl.login.refresh.buffer.seconds").default("300").per_broker().unserved()
        .doc("Seconds before its end at which a login is refreshed at the latest."),
    Key::short("sasl.login.refresh.min.period.seconds").default("60").per_broker().unserved()
        .doc("Shortest time in seconds between two refreshes of a login."),
    Key::double("sasl.login.refresh.window.factor").default("0.8").per_broker().unserved()
        .doc("Share of a login's life after which it is refreshed."),
    Key::double("sasl.login.refresh.window.jitter").default("0.05").per_broker().unserved()
        .doc("Share of the time until a login is refreshed that is random."),
    Key::long("sasl.login.retry.backoff.max.ms").default("10000").low().unserved()
        .doc("Longest pause before an OAuth login is tried again."),
    Key::long("sasl.login.retry.backoff.ms").default("100").low().unserved()
        .doc("First pause before an OAuth login is tried again."),
    Key::string("sasl.mechanism.controller.protocol").default("GSSAPI").high().unserved()
        .doc("SASL mechanism towards a Raft-based controller."),
    Key::string("sasl.mechanism.inter.broker.protocol").default("GSSAPI").per_broker().unserved()
        .doc("SASL mechanism between brokers."),
    Key::int("sasl.oauthbearer.clock.skew.seconds").default("30").low().unserved()
        .doc("Seconds by which the clock of the provider of OAuth tokens may differ."),
    Key::list("sasl.oauthbearer.expected.audience").low().unserved()
        .doc("Audiences that an OAuth token may be for."),
    Key::string("sasl.oauthbearer.expected.issuer").low().unserved()
        .doc("Issuer that an OAuth token must come from."),
    Key::long("sasl.oauthbearer.jwks.endpoint.refresh.ms").default("3600000").low().unserved()
        .doc("Time between two fetches of the keys that sign OAuth tokens."),
    Key::long("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms").default("10000").low()
        .unserved()
        .doc("Longest pause before the keys that sign OAuth tokens are fetched again."),
    Key::long("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms").default("100").low().unserved()
        .doc("First pause before the keys that sign OAuth tokens are fetched again."),
    Key::string("sasl.oauthbearer.jwks.endpoint.url").unserved()
        .doc("Where the keys that sign OAuth tokens are."),
    Key::string("sasl.oauthbearer.scope.claim.name").default("scope").low().unserved()
        .doc("Claim of an OAuth token that holds its scope."),
    Key::string("sasl.oauthbearer.sub.claim.name").default("sub").low().unserved()
        .doc("Claim of an OAuth token that holds its subject."),
    Key::string("sasl.oauthbearer.token.endpoint.url").unserved()
        .doc("Where OAuth tokens are obtained."),
    Key::class("sasl.server.callback.handler.class").unserved()
        .doc("Java class that answers a SASL server's questions."),
    Key::int("sasl.server.max.receive.size").default("524288").unserved()
        .doc("Most bytes of a request before authentication is done."),
];
