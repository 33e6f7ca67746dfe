// An OpenID issuer that this project did not write (npm oidc-provider), dressed like Entra ID: addresses under
// /TENANT/v2.0, app-only access tokens of version 2.0, and the `.default` scope. Started by up.py, which passes
// everything in ISSUER_CONFIG: secrets belong in the environment, since everybody can read a command line.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const { port, issuer, tenant, audiences, clients, packages } = JSON.parse(process.env.ISSUER_CONFIG);

// The package is in the cache directory and not beside this file, where `import` would look for it.
const entry = createRequire(join(packages, 'package.json')).resolve('oidc-provider');
const { Provider, errors } = await import(pathToFileURL(entry));

const byId = new Map(clients.map((client) => [client.client_id, client]));

const provider = new Provider(issuer, {
  clients: clients.map(({ client_id, client_secret }) => ({
    client_id,
    client_secret,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: 'client_secret_post', // the provider takes client_secret_basic as well
  })),
  // A new key at every start, so that a restart is a key rotation. Its kid is the thumbprint.
  jwks: {
    keys: [{
      ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
      alg: 'RS256',
      use: 'sig',
    }],
  },
  cookies: { keys: [randomUUID()] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource) {
        if (!audiences.includes(resource)) throw new errors.InvalidTarget(`unknown resource ${resource}`);
        return {
          audience: resource,
          scope: '',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 3600,
          jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
  },
  ttl: { ClientCredentials: 3600 },
  extraTokenClaims: (ctx, token) => ({
    tid: tenant,
    oid: byId.get(token.clientId).object_id,
    azp: token.clientId,
    idtyp: 'app',
    ver: '2.0',
  }),
  formats: {
    customizers: {
      // Claims that repeat another one; `sub` can be set nowhere else (it would be the client id).
      jwt(ctx, token, { payload }) {
        payload.sub = payload.oid;
        payload.nbf = payload.iat;
        payload.uti = payload.jti;
      },
    },
  },
});

// Entra takes the resource as a scope, `https://ml.azure.com/.default`; oidc-provider wants RFC 8707's `resource`.
function entraForm(body) {
  const form = new URLSearchParams(body);
  const scopes = (form.get('scope') ?? '').split(' ');
  const resource = scopes.find((scope) => scope.endsWith('/.default'));
  if (resource && !form.has('resource')) {
    form.set('resource', resource.slice(0, -'/.default'.length));
    form.delete('scope');
  }
  return form.toString();
}

const prefix = new URL(issuer).pathname;
const handle = provider.callback();

createServer(async (req, res) => {
  if (!req.url.startsWith(`${prefix}/`)) {
    res.writeHead(404).end();
    return;
  }
  // oidc-provider routes by `url` and works out the addresses it publishes from `originalUrl`.
  req.originalUrl = req.url;
  req.url = req.url.slice(prefix.length);
  if (req.method === 'POST' && req.url === '/token') {
    try {
      req.body = entraForm(await text(req)); // the provider reads `body` when the stream has been read
    } catch {
      res.destroy(); // the client went away in the middle of its request
      return;
    }
  }
  handle(req, res);
}).listen(port, '127.0.0.1');
