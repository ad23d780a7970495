// Read cohorts with mixpanel-import, which exports profiles too: `importer.js FILE COHORT...`, where it is installed.
// Node takes no proxy from its environment, so connections to mixpanel.com are led to this machine here; the name stays
// what the certificate is checked against.
const fs = require("fs");
const https = require("https");
const tls = require("tls");

const port = Number(process.env.COUNTERPART_TLS_PORT);
https.globalAgent.createConnection = (options) => {
  if (options.host !== "mixpanel.com") throw new Error(`${options.host} is no counterpart's address`);
  return tls.connect({ ...options, host: "127.0.0.1", port, servername: "mixpanel.com" });
};

// By the folder that it is started in: that is where it is installed.
const read = require(require.resolve("mixpanel-import", { paths: [process.cwd()] }));

const [path, ...cohorts] = process.argv.slice(2);
const account = {
  acct: process.env.COUNTERPART_USERNAME,
  pass: process.env.COUNTERPART_SECRET,
  project: process.env.COUNTERPART_PROJECT,
};

async function main() {
  const file = fs.openSync(path, "w");
  const print = (row) => fs.writeSync(file, JSON.stringify(row) + "\n");
  for (const cohort of cohorts.map(Number)) {
    const options = { recordType: "profile-export", cohortId: cohort, skipWriteToDisk: true };
    const { dryRun } = await read(account, null, options);
    for (const row of dryRun) print({ cohort, distinct_id: row.$distinct_id, properties: row.$properties });
    print({ cohort, read: true });
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
