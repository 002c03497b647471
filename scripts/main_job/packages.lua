-- packages.lua: real input. The descriptions of all packages that this Debian knows become documents; the database is
-- closed and opened again, and every document compared with its source.
local tidemark = require "tidemark"
local log_check = require "log_check"

--- The packages that Depends names, without versions and alternatives' bars.
local function depends_of(text)
  local list, seen = tidemark.array {}, {}
  for name in (text or ""):gmatch "[^,|%s()]+[^,|]*" do
    name = name:match "^[%w.+-]+"
    if name and not seen[name] then
      seen[name] = true
      list[#list + 1] = name
    end
  end
  return list
end

--- Reads `apt-cache dumpavail`: an array of documents, the newest of each name.
local function read_packages()
  local pipe = assert(io.popen("LC_ALL=C.UTF-8 apt-cache dumpavail 2>/dev/null", "r"))
  local list, by_name, field, record = {}, {}, nil, {}
  local function finish()
    local name = record.Package
    if name and utf8.len(table.concat(record)) ~= false then
      local document = { id = name, section = record.Section, version = record.Version,
        depends = depends_of(record.Depends), body = record["Description-en"] or record.Description or "" }
      if not by_name[name] then list[#list + 1] = document else list[by_name[name]] = document end
      by_name[name] = by_name[name] or #list
    end
    record = {}
  end
  for line in pipe:lines() do
    local key, value = line:match "^([%w-]+): ?(.*)$"
    if line == "" then
      finish()
    elseif key then
      field = key
      record[key] = utf8.len(value) and value or value:gsub("[\128-\255]", "?")
    elseif field and line:sub(1, 1) == " " then
      local text = line:sub(2)
      record[field] = record[field] .. "\n" .. (utf8.len(text) and text or text:gsub("[\128-\255]", "?"))
    end
  end
  finish()
  pipe:close()
  return list
end

local function same(a, b)
  if a.version ~= b.version or a.section ~= b.section or a.body ~= b.body or #a.depends ~= #b.depends then return false end
  for i, name in ipairs(a.depends) do
    if b.depends[i] ~= name then return false end
  end
  return true
end

local function ask(report, db)
  local packages = db:collection "packages"
  local start = report.clock()
  local longest = {}
  for id, document in packages:each() do
    local length = #document.body
    if #longest < 10 or length > longest[#longest].length then
      longest[#longest + 1] = { id = id, length = length }
      table.sort(longest, function(a, b) return a.length > b.length end)
      longest[11] = nil
    end
  end
  report.rate("Packages: the ten longest texts", #packages, report.clock() - start)
  local lines = {}
  for i, entry in ipairs(longest) do lines[i] = ("%s (%d)"):format(entry.id, entry.length) end
  print("longest texts: " .. table.concat(lines, ", "))

  start = report.clock()
  local sections, names = {}, {}
  for _, document in packages:each() do
    local section = document.section or "?"
    if not sections[section] then names[#names + 1] = section end
    sections[section] = (sections[section] or 0) + 1
  end
  report.rate("Packages: packages per section", #packages, report.clock() - start)
  table.sort(names, function(a, b) return sections[a] > sections[b] or sections[a] == sections[b] and a < b end)
  for i, name in ipairs(names) do lines[i] = ("%s %d"):format(name, sections[name]) end
  print("largest sections: " .. table.concat(lines, ", ", 1, math.min(10, #names)))

  start = report.clock()
  local dependents = {}
  for id, document in packages:each() do
    for _, name in ipairs(document.depends) do
      if name == "lua5.4" then dependents[#dependents + 1] = id end
    end
  end
  report.rate("Packages: which depend on lua5.4", #packages, report.clock() - start)
  table.sort(dependents)
  print("depend on lua5.4: " .. table.concat(dependents, ", ") .. "\n")
end

return function(directory, report)
  local path = directory .. "/packages"
  local source = read_packages()
  report.check("Packages: found some to store", #source > 0, true)
  local db = assert(tidemark.open(path))
  local packages = db:collection "packages"
  local start = report.clock()
  for _, document in ipairs(source) do assert(packages:put(document)) end
  report.rate(("Packages: %d stored"):format(#source), #source, report.clock() - start)
  assert(db:flush())
  assert(db:close())

  log_check(path, report, "Packages", { created = #source, updated = 0, deleted = 0 })
  local again <close> = assert(tidemark.open(path))
  local stored = again:collection "packages"
  start = report.clock()
  local equal = 0
  for _, document in ipairs(source) do
    local found = stored:get(document.id)
    if found and same(document, found) then equal = equal + 1 end
  end
  report.rate("Packages: all read and compared", #source, report.clock() - start)
  report.check("Packages: documents equal to their source", equal, #source)
  ask(report, again)
end
