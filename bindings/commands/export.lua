local export = {
  usage = [[
usage: tidemark export DIR COLLECTION

Writes the collection's documents to standard output, one a line, in no particular order. Works beside a process that
has the directory open.

example:
  tidemark export data/blog articles > articles.jsonl
]],
}

function export.main(common, arguments)
  local _, rest = common.parse(arguments, {}, 2, export.usage)
  if #rest < 2 then common.fail(2, "a directory and a collection are needed\n%s", export.usage) end
  if not rest[2]:find "^[%w_-]+$" or #rest[2] > 64 then common.fail(2, "%s: not a collection's name", rest[2]) end
  local db <close> = common.open(rest[1], { read_only = true })
  local collection = db:collection(rest[2])
  local update, finish = common.progress "export"
  local count, total = 0, #collection
  for _, text in collection:each(nil, true) do
    common.write(text, "\n")
    count = count + 1
    if count % 1000 == 0 then update(count, total) end
  end
  finish()
  return 0
end

return export
