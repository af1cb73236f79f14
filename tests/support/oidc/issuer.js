// An issuer of OpenID Connect for tests: anybody may log in by any name and password. It listens on a free port of this
// machine, says where, and ends when its standard input closes.
//
// `AUDIENCE` is what access tokens are for, and `SECONDS` how long they count.

import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const seconds = Number(process.env.SECONDS ?? 300);

const person = (id) => ({
  sub: id,
  email: `${id}@example.com`,
  // Anybody may write any address into their account, but not all have shown that it is theirs.
  email_verified: id !== 'mallory',
  groups: id === 'alice' ? ['dba'] : [],
});

const configuration = {
  clients: [{
    client_id: 'replictl',
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
    // The port is not compared for programs on the machine of the browser (RFC 8252).
    redirect_uris: ['http://localhost/auth/callback'],
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'email', 'groups', 'offline_access'],
  conformIdTokenClaims: false,
  cookies: { keys: ['for tests'] },
  features: {
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:replibook',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'openid email groups', audience: process.env.AUDIENCE ?? 'replibook', accessTokenFormat: 'jwt',
      }),
    },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => person(id) }),
  extraTokenClaims: (ctx, token) => person(token.accountId),
  issueRefreshToken: () => true,
  ttl: { AccessToken: seconds, IdToken: seconds, DeviceCode: 600, Grant: 3600, RefreshToken: 3600, Session: 3600, Interaction: 600 },
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const address = `http://127.0.0.1:${server.address().port}`;
  server.on('request', new Provider(address, configuration).callback());
  console.log(`listening on ${address}`);
});
process.stdin.resume().on('end', () => process.exit(0));
