local tidemark = require "tidemark"
local cjson = require "cjson"
local workspace = require "spec.support.workspace"

describe("documents as JSON", function()
  local db, c
  setup(function()
    db = assert(tidemark.open(workspace.path()))
    c = db:collection "c"
  end)
  teardown(function()
    db:close()
    workspace.clean()
  end)

  local function stored(document)
    assert(c:put(document))
    return (c:get_json "x"), (c:get "x")
  end

  it("keep every number exactly", function()
    for _, text in ipairs { "0", "-1", "9223372036854775807", "-9223372036854775808", "1732352391123456" } do
      local json, document = stored('{"id":"x","n":' .. text .. "}")
      assert.equal('{"id":"x","n":' .. text .. "}", json)
      assert.equal("integer", math.type(document.n))
      assert.equal(text, tostring(document.n))
    end
    for _, text in ipairs { "1.5", "-0.0", "1e3", "1E+2", "0.1", "5e-324", "1.7976931348623157e308", "100.0" } do
      local json, document = stored('{"id":"x","n":' .. text .. "}")
      assert.equal('{"id":"x","n":' .. text .. "}", json)
      assert.equal("float", math.type(document.n))
      assert.equal(tonumber(text) + 0.0, document.n)
      local _, again = stored(document)
      assert.equal("float", math.type(again.n))
      assert.equal(("%a"):format(document.n), ("%a"):format(again.n))
    end
    for _, n in ipairs { 0.1, 1 / 3, 2 ^ 53, -0.0, 1e15, 1e16, 1e100, math.mininteger, math.maxinteger, 2 ^ 63 } do
      local _, document = stored { id = "x", n = n }
      assert.equal(math.type(n), math.type(document.n))
      assert.equal(("%a"):format(n), ("%a"):format(document.n))
    end
    local json, document = stored '{"id":"x","n":123456789012345678901234567890,"m":[18446744073709551615,-0]}'
    assert.equal('{"id":"x","n":123456789012345678901234567890,"m":[18446744073709551615,-0.0]}', json)
    assert.equal(123456789012345678901234567890.0, document.n)
    assert.equal("float", math.type(document.m[1]))
    assert.equal("-0.0", tostring(document.m[2]))
  end)

  it("keep arrays and objects what they are", function()
    assert.matches('"a":%[%]', (stored '{"id":"x","a":[]}'))
    local _, document = stored '{"id":"x","a":[],"o":{}}'
    local json = stored(document)
    assert.matches('"a":%[%]', json)
    assert.matches('"o":{}', json)
    assert.matches('"a":{}', (stored { id = "x", a = {} }))
    assert.matches('"a":%[%]', (stored { id = "x", a = tidemark.empty_array }))
    assert.matches('"a":%[%]', (stored { id = "x", a = tidemark.array {} }))
    if cjson.empty_array then assert.matches('"a":%[%]', (stored { id = "x", a = cjson.empty_array })) end
    assert.matches('"a":%[1,null,3%]', (stored { id = "x", a = { [1] = 1, [3] = 3 } }))
    assert.matches('"a":{"1000":1}', (stored { id = "x", a = { [1000] = 1 } }))
    local mixed = stored { id = "x", a = { 1, k = 2 } }
    assert.truthy(mixed:find('"a":{"1":1,"k":2}', 1, true))
    local array = tidemark.array {}
    array[1] = "v"
    assert.matches('"a":%["v"%]', (stored { id = "x", a = array }))
    assert.has_error(function() tidemark.array(setmetatable({}, {})) end)
  end)

  it("use cjson.null for null", function()
    assert.equal(cjson.null, tidemark.null)
    local json, document = stored { id = "x", n = cjson.null, l = { 1, cjson.null } }
    assert.matches('"n":null', json)
    assert.equal(cjson.null, document.n)
    assert.equal(cjson.null, document.l[2])
  end)

  it("agree with lua-cjson on what both can read", function()
    local text = [[{"id":"x","s":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00","t":true,"f":false,"l":[1,[2,{"a":[]}],"z"]} ]]
    local _, document = stored(text)
    assert.same(cjson.decode(text), document)
    local _, again = stored(document)
    assert.same(document, again)
    local controls = {}
    for i = 0, 127 do controls[#controls + 1] = string.char(i) end
    local all = table.concat(controls)
    for cut = 1, 128, 7 do
      local _, back = stored { id = "x", s = all:sub(cut) }
      assert.equal(all:sub(cut), back.s)
    end
    assert.equal(all, cjson.decode((stored { id = "x", s = all })).s)
  end)

  it("let the last of a repeated key count", function()
    local _, document = stored '{"id":"y","a":1,"a":2,"i\\u0064":"x"}'
    assert.same({ id = "x", a = 2 }, document)
  end)

  local function refused(document, pattern)
    local ok, message, code = c:create(document)
    assert.is_nil(ok)
    assert.equal("invalid", code)
    assert.matches(pattern, message)
  end

  it("are refused when they aren't JSON objects", function()
    refused("", "empty")
    refused("[]", "not a JSON object")
    refused("7", "not a JSON object")
    refused({ 1, 2 }, "not a JSON object")
    refused('{"a":1} x', "not JSON")
    refused('{"a":1', "not JSON")
    refused("{'a':1}", "not JSON")
    refused('{"a":1}{}', "not JSON")
    refused("\xEF\xBB\xBF{}", "byte order mark")
    refused('{"a":"\\ud800"}', "malformed string")
    refused('{"a":"\\udc00"}', "string")
    refused('{"a":"\xff"}', "UTF%-8")
    refused('{"a":"\n"}', "string")
    refused({ a = "\xff" }, "UTF%-8")
    refused({ ["\xed\xa0\x80"] = 1 }, "UTF%-8")
    refused('{"a":1e400}', "number")
    refused('{"a":01}', "number")
    refused('{"a":1' .. ("0"):rep(400) .. "}", "number")
  end)

  it("may be 1,000 levels deep and no deeper", function()
    local function text(levels) return ('{"a":'):rep(levels - 1) .. "{}" .. ("}"):rep(levels - 1) end
    assert(c:create(text(1000)))
    refused(text(1001), "1000 levels")
    refused('{"a":' .. ("["):rep(100000) .. ("]"):rep(100000) .. "}", "1000 levels")
    local function nested(levels)
      local outer = {}
      local inner = outer
      for _ = 2, levels do
        inner.a = {}
        inner = inner.a
      end
      return outer
    end
    local id = assert(c:create(nested(1000)))
    assert(c:update(id, nested(1000)))
    local document, depth = c:get(id), 0
    while document do document, depth = document.a, depth + 1 end
    assert.equal(1000, depth)
    refused(nested(1001), "1000 levels")
  end)

  it("aren't changed by being stored", function()
    local document = { a = { 1, 2 }, b = {} }
    assert(c:create(document))
    assert.same({ a = { 1, 2 }, b = {} }, document)
    assert.is_nil(getmetatable(document.b))
  end)

  it("escape what must be, wherever it stands", function()
    local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\0"] = "\\u0000", ["\31"] = "\\u001f",
      [" "] = " ", ["!"] = "!", ["#"] = "#", ["["] = "[", ["\127"] = "\127", ["ü"] = "ü" }
    for length = 0, 50 do
      for place = 0, length do
        for text, escaped in pairs(escapes) do
          local before, behind = ("b"):rep(place), ("~"):rep(length - place)
          local written = stored { id = "x", v = before .. text .. behind }
          local expected = before .. escaped .. behind
          if written ~= '{"id":"x","v":"' .. expected .. '"}' and written ~= '{"v":"' .. expected .. '","id":"x"}' then
            error(("%q at %d of %d: %s"):format(text, place, length, written))
          end
        end
      end
    end
    for length = 1, 40 do -- an id that the document hasn't in it
      for place = 1, length do
        local id = ("i"):rep(place - 1) .. ({ '"', "\\", "i" })[place % 3 + 1] .. ("i"):rep(length - place)
        assert(c:put { id = id, before = true })
        assert.equal(1, c:update(id, { before = tidemark.null, n = 1 }) and c:get(id).n)
        assert.equal(id, c:get(id).id)
        assert(c:delete(id))
      end
    end
  end)

  it("round-trip whatever a seed makes", function()
    local seed = tonumber(os.getenv "TIDEMARK_SEED") or os.time()
    math.randomseed(seed)
    local function value(depth)
      local kind = math.random(depth > 4 and 6 or 9)
      if kind == 1 then return math.random(0) end
      if kind == 2 then return (math.random() - 0.5) * 10 ^ math.random(-300, 300) end
      if kind == 3 then return math.random(2) == 1 end
      if kind == 4 then return tidemark.null end
      if kind <= 6 then
        local parts = {}
        for i = 1, math.random(0, 20) do parts[i] = utf8.char(({ math.random(0, 127), math.random(128, 0xd7ff),
          math.random(0xe000, 0x10ffff) })[math.random(3)]) end
        return table.concat(parts)
      end
      local result = {}
      if kind == 7 then
        for i = 1, math.random(5) do result[i] = value(depth + 1) end
      else
        for _ = 1, math.random(0, 6) do result["k" .. math.random(100) .. '"\n'] = value(depth + 1) end
      end
      return result
    end
    for _ = 1, 500 do
      local document = { id = "x", v = value(0), w = value(0) }
      local _, back = stored(document)
      assert.same(document, back, "TIDEMARK_SEED=" .. seed)
    end
  end)
end)
