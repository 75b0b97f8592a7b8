// The simplified mapping (bench/README.md) in Node with stream-json.
// Usage: node bench/peers/stream_json.mjs DUMP OUT, or --version. Needs: npm install --prefix bench/peers

import fs from 'node:fs';
import {pipeline} from 'node:stream/promises';
import chain from 'stream-chain';
import {parser} from 'stream-json';
import {streamArray} from 'stream-json/streamers/stream-array.js';

function mapped({value: job}) {
  const id = job._id?.$oid ?? job._id;
  const chapters = job.chapters ?? [];
  return JSON.stringify({
    _id: id,
    jobId: job.jobId ?? id,
    status: job.status ?? null,
    title: job.title ?? null,
    chapterCount: chapters.length,
    wordCount: chapters.reduce((sum, chapter) => sum + (chapter.wordCount ?? 0), 0),
    totalCost: chapters.reduce((sum, chapter) => sum + (chapter.cost ?? 0), 0),
    chapters: chapters.map(({chapterNumber = null, title = null, content = null}) => ({chapterNumber, title, content})),
  }) + '\n';
}

const [dump, out] = process.argv.slice(2);
if (dump === '--version') {
  const {version} = JSON.parse(fs.readFileSync(new URL('node_modules/stream-json/package.json', import.meta.url)));
  console.log(`Node ${process.version}, stream-json ${version}`);
} else {
  await pipeline(
    chain([
      fs.createReadStream(dump, {highWaterMark: 1 << 20}),
      parser({streamValues: false}), // only whole values: a third faster than its default
      streamArray(),
      mapped,
    ]),
    fs.createWriteStream(out),
  );
}
