local import = {
  usage = [[
usage: tidemark import DIR COLLECTION [FILE.jsonl|-] [--id-field NAME] [--strict]

Puts the documents of FILE, a JSON object a line, into the collection (standard input without a FILE, or with `-`). A
document with the id of one that exists replaces it. One without an id gets one.

  --id-field NAME  take the id from this field
  --strict         stop at the first bad line instead of skipping it

Exit status 1: lines were skipped, or the import stopped at one.

example:
  tidemark import data/blog articles articles.jsonl --id-field slug
]],
}

local function put(tidemark, collection, line, field)
  if not field then
    local version, message, code = collection:put(line)
    if not version and code == "invalid" and message:find("has no id", 1, true) then
      return collection:create(line)
    end
    return version, message, code
  end
  local quoted = tidemark.decode(line)
  if not quoted then return collection:put(line) end
  local id = quoted[field]
  if math.type(id) == "integer" then id = tostring(id) end
  if type(id) ~= "string" then return nil, ("%s: no text and no integer"):format(field), "invalid" end
  quoted.id = id
  return collection:put(quoted)
end

local function open_input(common, name)
  if name == nil or name == "-" then return io.stdin end
  local file, message = io.open(name, "rb")
  return file or common.fail(3, "%s", message)
end

function import.main(common, arguments)
  local options, rest = common.parse(arguments, { ["id-field"] = "string", strict = "flag" }, 3, import.usage)
  if #rest < 2 then common.fail(2, "a directory and a collection are needed\n%s", import.usage) end
  if not rest[2]:find "^[%w_-]+$" or #rest[2] > 64 then common.fail(2, "%s: not a collection's name", rest[2]) end
  local input, name = open_input(common, rest[3]), rest[3] or "standard input"
  local total = input ~= io.stdin and input:seek "end" or nil
  if total then input:seek "set" end
  local db <close> = common.open(rest[1])
  local collection = db:collection(rest[2])
  local tidemark = { decode = require "tidemark.tools".decode }
  local update, finish = common.progress "import"
  local number, stored, skipped, bytes = 0, 0, 0, 0
  for line in input:lines "L" do
    number, bytes = number + 1, bytes + #line
    if line:find "%S" then
      local ok, message, code = put(tidemark, collection, line, options["id-field"])
      if ok then
        stored = stored + 1
      elseif code ~= "invalid" then
        finish()
        common.fail(3, "%s: line %d: %s", name, number, message)
      else
        finish()
        io.stderr:write(("tidemark: %s: line %d: %s\n"):format(name, number, message))
        skipped = skipped + 1
        if options.strict then break end
      end
    end
    if number % 1000 == 0 then update(total and bytes or number, total) end
  end
  finish()
  local flushed, message = db:flush()
  if not flushed then common.fail(3, "%s", message) end
  common.write(("%d documents imported, %d lines skipped\n"):format(stored, skipped))
  return skipped > 0 and 1 or 0
end

return import
