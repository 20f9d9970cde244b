-- What a small interpreter does: integers and tables, strings, sorting, floating point,
-- coroutines. Prints one number, which is the same everywhere.

local state = 42
local function random(limit)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 256 % limit + 1
end

local function queens(size)
  local columns, up, down, count = {}, {}, {}, 0
  local function place(row)
    if row > size then
      count = count + 1
      return
    end
    for column = 1, size do
      local rise, fall = row + column, row - column + size
      if not (columns[column] or up[rise] or down[fall]) then
        columns[column], up[rise], down[fall] = true, true, true
        place(row + 1)
        columns[column], up[rise], down[fall] = nil, nil, nil
      end
    end
  end
  place(1)
  return count
end

local function words(count)
  local parts = {}
  for n = 1, count do
    local letters = {}
    for i = 1, random(8) do letters[i] = string.char(96 + random(26)) end
    parts[n] = table.concat(letters)
  end
  local text, seen, different = table.concat(parts, " "), {}, 0
  for word in text:gmatch("%a+") do
    if not seen[word] then different = different + 1 end
    seen[word] = (seen[word] or 0) + 1
  end
  return different + #text:gsub("e(%a)", "%1e"):upper()
end

local function sorted(count)
  local list = {}
  for n = 1, count do list[n] = { key = random(1000000), n = n } end
  table.sort(list, function(a, b)
    if a.key ~= b.key then return a.key < b.key end
    return a.n < b.n
  end)
  return list[count // 2].key
end

local function mandelbrot(size, limit)
  local inside = 0
  for y = 0, size - 1 do
    for x = 0, size - 1 do
      local cr, ci, zr, zi, n = 3.0 * x / size - 2.0, 2.0 * y / size - 1.0, 0.0, 0.0, 0
      while n < limit and zr * zr + zi * zi < 4.0 do
        zr, zi, n = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci, n + 1
      end
      if n == limit then inside = inside + 1 end
    end
  end
  return inside
end

local function passed(count)
  local sum = 0
  local producer = coroutine.wrap(function()
    for n = 1, count do coroutine.yield(n) end
  end)
  for _ = 1, count do sum = sum + producer() end
  return sum
end

print(queens(8) + words(15000) + sorted(15000) + mandelbrot(100, 60) + passed(40000))
