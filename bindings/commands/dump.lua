local dump = {
  usage = [=[
usage: tidemark dump DIR [--from SEQ] [--to SEQ] [--collection NAME [--id ID]] [--json]

Prints the events of the log in seq order, one a line: seq, time, type, collection/id, document. Works beside a process
that has the directory open.

  --from, --to  the first and the last seq
  --collection  of this collection alone; with --id, one document's history
  --json        each event as a JSON object

examples:
  tidemark dump data/blog | wc -l
  tidemark dump data/blog --collection articles --id hello --json
]=],
}

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function as_json(event)
  if event.type == "gap" then
    return ('{"seq":%d,"last_seq":%d,"type":"gap"}\n'):format(event.seq, event.last_seq)
  end
  return ('{"seq":%d,"time_us":%d,"type":"%s","collection":"%s","id":%s%s}\n'):format(event.seq, event.time_us,
    event.type, event.collection, quoted(event.id), event.json and ',"document":' .. event.json or "")
end

local function as_text(event)
  if event.type == "gap" then return ("%d\t-\tgap\tto %d\n"):format(event.seq, event.last_seq) end
  local time = os.date("!%Y-%m-%dT%H:%M:%S", event.time_us // 1000000)
  return ("%d\t%s.%06dZ\t%s\t%s/%s%s\n"):format(event.seq, time, event.time_us % 1000000, event.type, event.collection,
    event.id, event.json and "\t" .. event.json or "")
end

function dump.main(common, arguments)
  local options, rest = common.parse(arguments,
    { from = "number", to = "number", collection = "string", id = "string", json = "flag" }, 1, dump.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", dump.usage) end
  local filter = { from = options.from, to = options.to, collection = options.collection, id = options.id, json = true }
  local db <close> = common.open(rest[1], { read_only = true })
  local opened, events, state, control, closing = pcall(db.events, db, filter)
  if not opened then common.fail_argument(events) end
  if not events then common.fail(3, "%s", state) end
  local line = options.json and as_json or as_text
  local ok, err = pcall(function()
    for event in events, state, control, closing do common.write(line(event)) end
  end)
  if not ok then
    if type(err) == "table" then error(err, 0) end
    common.fail(3, "%s", err)
  end
  return 0
end

return dump
