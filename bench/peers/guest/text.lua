-- Text of about as many bytes as the argument says, with the redundancy that logs and
-- sources have: words by falling frequency, numbers, lines that come again.

local state = 7
local function random(limit)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 256 % limit + 1
end

local words, lines, size = {}, {}, 0
for n = 1, 2000 do
  local letters = {}
  for i = 1, 2 + random(9) do letters[i] = string.char(96 + random(26)) end
  words[n] = table.concat(letters)
end

while size < tonumber(arg[1]) do
  local line
  if #lines > 100 and random(4) == 1 then
    line = lines[random(#lines)]
  else
    local parts = {}
    for i = 1, 4 + random(10) do
      parts[i] = random(12) == 1 and random(100000) or words[random(random(2000))]
    end
    line = table.concat(parts, " ")
    lines[#lines + 1] = line
  end
  io.write(line, "\n")
  size = size + #line + 1
end
