//! SASL on listeners.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::class("sasl.client.callback.handler.class").unserved(),
    Key::list("sasl.enabled.mechanisms").default("GSSAPI").per_broker().unserved(),
    Key::password("sasl.jaas.config").per_broker().unserved(),
    Key::string("sasl.kerberos.kinit.cmd").default("/usr/bin/kinit").per_broker().unserved(),
    Key::long("sasl.kerberos.min.time.before.relogin").default("60000").per_broker().unserved(),
    Key::list("sasl.kerberos.principal.to.local.rules").default("DEFAULT").per_broker().unserved(),
    Key::string("sasl.kerberos.service.name").per_broker().unserved(),
    Key::double("sasl.kerberos.ticket.renew.jitter").default("0.05").per_broker().unserved(),
    Key::double("sasl.kerberos.ticket.renew.window.factor").default("0.8").per_broker().unserved(),
    Key::class("sasl.login.callback.handler.class").unserved(),
    Key::class("sasl.login.class").unserved(),
    Key::int("sasl.login.connect.timeout.ms").low().unserved(),
    Key::int("sasl.login.read.timeout.ms").low().unserved(),
    Key::short("sasl.login.refresh.buffer.seconds").default("300").per_broker().unserved(),
    Key::short("sasl.login.refresh.min.period.seconds").default("60").per_broker().unserved(),
    Key::double("sasl.login.refresh.window.factor").default("0.8").per_broker().unserved(),
    Key::double("sasl.login.refresh.window.jitter").default("0.05").per_broker().unserved(),
    Key::long("sasl.login.retry.backoff.max.ms").default("10000").low().unserved(),
    Key::long("sasl.login.retry.backoff.ms").default("100").low().unserved(),
    Key::string("sasl.mechanism.controller.protocol").default("GSSAPI").high().unserved(),
    Key::string("sasl.mechanism.inter.broker.protocol").default("GSSAPI").per_broker().unserved(),
    Key::int("sasl.oauthbearer.clock.skew.seconds").default("30").low().unserved(),
    Key::list("sasl.oauthbearer.expected.audience").low().unserved(),
    Key::string("sasl.oauthbearer.expected.issuer").low().unserved(),
    Key::long("sasl.oauthbearer.jwks.endpoint.refresh.ms").default("3600000").low().unserved(),
    Key::long("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms").default("10000").low()
        .unserved(),
    Key::long("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms").default("100").low().unserved(),
    Key::string("sasl.oauthbearer.jwks.endpoint.url").unserved(),
    Key::string("sasl.oauthbearer.scope.claim.name").default("scope").low().unserved(),
    Key::string("sasl.oauthbearer.sub.claim.name").default("sub").low().unserved(),
    Key::string("sasl.oauthbearer.token.endpoint.url").unserved(),
    Key::class("sasl.server.callback.handler.class").unserved(),
    Key::int("sasl.server.max.receive.size").default("524288").unserved(),
];
