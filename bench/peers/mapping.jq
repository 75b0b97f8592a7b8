# The simplified mapping (bench/README.md) in jq. It reads the whole dump into memory: `--stream` with `fromstream`
# does not, but takes more than twice as long. Usage: jq --compact-output --from-file bench/peers/mapping.jq DUMP
.[] | (._id | .["$oid"]? // .) as $id | {
  _id: $id,
  jobId: (.jobId // $id),
  status,
  title,
  chapterCount: (.chapters | length),
  wordCount: (reduce .chapters[]? as $chapter (0; . + ($chapter.wordCount // 0))),
  totalCost: (reduce .chapters[]? as $chapter (0; . + ($chapter.cost // 0))),
  chapters: [.chapters[]? | {chapterNumber, title, content}]
}
